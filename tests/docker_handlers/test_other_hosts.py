"""Nodes of other hosts on one engine: what one that fell silent leaves there goes, and its tasks are taken over."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.docker_handlers.conftest import Deployment
from tests.images.recipes import BUSYBOX
from tests.system import hosts
from tests.system.process import until

# In its first attempt it reads a line and sleeps on, and hears no SIGTERM; later ones answer.
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
    """A deployment with its web server, and leases of 6 s."""
    daemon = deploy(HANDLER, DAEMON_DRAIN_TIMEOUT="0", DAEMON_LEASE="6")
    daemon.web()
    yield daemon
    daemon.close()


def busy(daemon: Deployment) -> tuple[str, set[str]]:
    """A task that the only node runs, and its containers."""
    task = daemon.post("act")
    daemon.until_status(task, "processing")
    return task, daemon.containers()


def counted(daemon: Deployment, series: str) -> int:
    """A counter's value."""
    rows = daemon.rows("SELECT sum(value) AS n FROM taskdaemon_counter WHERE series = ?", series)
    return int(rows[0]["n"] or 0)


def test_what_a_vanished_host_left_on_the_engine_is_removed(daemon: Deployment) -> None:
    first = hosts.start(daemon, "a")
    name = hosts.name(daemon, first)
    daemon.until_warm()
    task, left = busy(daemon)
    hosts.start(daemon, "b")
    daemon.until_warm()
    first.kill()
    shutil.rmtree(daemon.home / "host-a")
    found = daemon.until_final(task)
    assert (found["status"], found["attempts"]) == ("completed", 2)
    until(lambda: not left & daemon.containers(), what="the end of its container")
    assert len(daemon.containers()) == 1
    until(lambda: name in daemon.http.get("/health").text, what="a word in /health")


def test_a_stopped_nodes_container_is_killed_and_it_serves_again(daemon: Deployment) -> None:
    first = hosts.start(daemon, "a")
    daemon.until_warm()
    task, left = busy(daemon)
    second = hosts.start(daemon, "b")
    daemon.until_warm()
    first.signal(signal.SIGSTOP)
    found = daemon.until_final(task)
    assert (found["status"], found["attempts"]) == ("completed", 2)
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["worker_lost", "success"]
    until(lambda: not left & daemon.containers(), what="the end of its container, while it is stopped")
    first.signal(signal.SIGCONT)
    until(lambda: len(daemon.containers()) == 2, what="a new container of the first node's")
    daemon.until_warm()
    assert second.stop() == 0
    again = daemon.post("act")
    daemon.until_status(again, "processing")
    assert hosts.name(daemon, first) in {row["node"] for row in daemon.rows("SELECT node FROM taskdaemon_task")}
