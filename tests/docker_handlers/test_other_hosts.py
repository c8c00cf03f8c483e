"""Nodes of other hosts on one engine: the containers of a silent node are removed, and its tasks run elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from testkit.images.recipes import BUSYBOX
from testkit.process import until
from tests.docker_handlers.conftest import Deployment
from tests.system import hosts

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

# In the first attempt it reads a line, sleeps, and ignores SIGTERM; in later ones it replies.
SCRIPT = (
    r"""trap '' TERM; while read -r task; do case $task in *'\"attempt\":1}'*) sleep 100000;; esac; """
    """echo '{\\"status\\":\\"success\\",\\"result\\":1}'; done"""
)
HANDLER = f"""
[handlers.act]
image = "{BUSYBOX}"
command = ["sh", "-c", "{SCRIPT}"]
instances = 1
timeout = 600
"""


@pytest.fixture
def daemon(deploy: Callable[..., Deployment]) -> Iterator[Deployment]:
    """A deployment with a web server, and leases of 6 s."""
    daemon = deploy(HANDLER, DAEMON_DRAIN_TIMEOUT="0", DAEMON_LEASE="6")
    daemon.web()
    yield daemon
    daemon.close()


def busy(daemon: Deployment) -> tuple[str, set[str]]:
    """A task that the only node runs, and that node's containers."""
    task = daemon.post("act")
    daemon.until_status(task, "processing")
    return task, daemon.containers()


def test_the_containers_of_a_vanished_host_are_removed(daemon: Deployment) -> None:
    first = hosts.start(daemon, "a")
    name = hosts.name(daemon, first)
    daemon.until_warm()
    task, before = busy(daemon)
    hosts.start(daemon, "b")
    daemon.until_warm()
    first.kill()
    shutil.rmtree(daemon.home / "host-a")
    found = daemon.until_final(task)
    assert (found["status"], found["attempts"]) == ("completed", 2)
    until(lambda: not before & daemon.containers(), what="the end of its container")
    assert len(daemon.containers()) == 1
    until(lambda: name in daemon.http.get("/health").text, what="its name in /health")
