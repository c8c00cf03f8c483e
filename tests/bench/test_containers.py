"""A real measurement with containers."""

from __future__ import annotations

import pytest

from bench.ours import Ours
from bench.servers import Servers
from testkit.images import docker

pytestmark = [pytest.mark.docker, pytest.mark.long("load", seconds=20)]

#: Half of them take more processor time than the resolution of their cost, 10 ms of each process.
TASKS = 200


def test_containers_are_counted_while_it_runs_and_removed_afterwards():
    with Servers() as servers:
        with Ours(servers, "sqlite", "local", "docker", slots=2) as ours:
            ours.start()
            ours.send(TASKS)
            assert len(ours.stamps(TASKS)) == TASKS
            of_this = f"label=taskdaemon.deployment={ours.deployment.identity}"
            assert len(docker.run("ps", "--quiet", "--filter", of_this).split()) == 2
            assert ours.cost > 0
        assert docker.run("ps", "--all", "--quiet", "--filter", of_this) == ""
