"""Nodes die while followers are told of moves: what they were told is what was moved."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import pytest

from testkit.daemon import Daemon
from testkit.process import PROJECT, until
from tests.faults.test_fail_points import worker_that_fails
from tests.features.toy.follows import TABLE

pytestmark = [pytest.mark.database, pytest.mark.long("kills", seconds=60)]

SETTINGS = """
from taskdaemon_site.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "tests.features.toy.follows.Follows"]
"""


def test_a_node_that_dies_when_it_has_told_of_ends_tells_each_end_once(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment(DAEMON_LEASE="6")
    daemon.handler("act")
    (daemon.home / "following.py").write_text(SETTINGS)
    daemon.environment |= {"DJANGO_SETTINGS_MODULE": "following", "PYTHONPATH": f"{daemon.home}:{PROJECT}"}
    daemon.execute(TABLE)
    daemon.web()
    tasks = [{"type": "act", "data": {"do": "error"} if number % 2 else {}} for number in range(20)]
    assert daemon.http.post("/queue/batch", json={"tasks": tasks}).status_code == 200
    daemon.execute("UPDATE taskdaemon_task SET followed = true")
    for place in ("before_settle", "after_moved", "after_settle"):
        node = worker_that_fails(daemon, f"{place}:kill:{daemon.home / place}")
        assert node.ends() == -signal.SIGKILL
    node = daemon.worker()
    until(daemon.all_final, what="the end of all tasks")
    told = Counter(row["told"] for row in daemon.rows("SELECT told FROM toy_follow"))
    assert (told["completed"], told["failed"]) == (10, 10)
    ends = daemon.rows("SELECT task FROM toy_follow WHERE told IN ('completed', 'failed')")
    assert len({row["task"] for row in ends}) == 20
    node.kill()
