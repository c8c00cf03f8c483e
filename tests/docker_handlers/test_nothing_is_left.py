"""However a deployment ends, none of its containers is left, and another deployment's are never touched."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from testkit.images.recipes import BUSYBOX
from testkit.process import kill_all, until
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

# Reads a line, sleeps if told to, and ignores SIGTERM; while it sleeps it does not notice the end of its stdin.
SCRIPT = (
    "trap '' TERM; while read -r task; do case $task in *forever*) sleep 100000;; esac; "
    """echo '{\\"status\\":\\"success\\",\\"result\\":1}'; done"""
)
HANDLER = f"""
[handlers.act]
image = "{BUSYBOX}"
command = ["sh", "-c", "{SCRIPT}"]
instances = 2
timeout = 600
"""
SECONDS = 15.0
"""Promise P10, counted from the start of a living node of the deployment."""


@pytest.fixture
def daemon(deploy: Callable[..., Deployment]) -> Iterator[Deployment]:
    daemon = deploy(HANDLER, DAEMON_DRAIN_TIMEOUT="0")
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def at_work(deploy: Callable[..., Deployment]) -> Iterator[Deployment]:
    """A deployment for several tests."""
    daemon = deploy(HANDLER)
    daemon.up()
    yield daemon
    daemon.close()


@pytest.fixture
def neighbour(at_work: Deployment) -> Iterator[Deployment]:
    """Another deployment on the same engine, at work."""
    task, before = busy(at_work), at_work.containers()
    yield at_work
    assert at_work.http.delete(f"/api/tasks/{task}").status_code == 204
    until(lambda: len(at_work.containers()) == 2 and not before <= at_work.containers(), what="another container")


def busy(daemon: Deployment) -> str:
    """Start an endless task: one of the two containers is busy, the other idle."""
    task = daemon.post("act", {"sleep": "forever"})
    daemon.until_status(task, "processing")
    return task


def until_gone(daemon: Deployment, containers: set[str], seconds: float = SECONDS) -> None:
    until(
        lambda: not containers & daemon.containers(), seconds, lambda: f"the end of {containers & daemon.containers()}"
    )


def test_a_running_task_that_is_deleted_has_its_container_killed(at_work: Deployment) -> None:
    before = at_work.containers()
    task = busy(at_work)
    assert at_work.http.delete(f"/api/tasks/{task}").status_code == 204
    until(lambda: len(before & at_work.containers("status=running")) == 1, what="the end of its container")
    assert at_work.until_final(at_work.post("act"))["result"] == 1
    until(lambda: len(at_work.containers()) == 2 and not before <= at_work.containers(), what="another container")


def test_nothing_is_left_after_a_signal(daemon: Deployment) -> None:
    up = daemon.up()
    task = busy(daemon)
    assert len(daemon.containers()) == 2
    up.signal(signal.SIGTERM)
    up.ends()
    assert (daemon.containers(), daemon.on_the_disk()) == (set(), [])
    (attempt,) = daemon.attempts(task)
    assert attempt["outcome"] == "released"


def test_the_next_start_removes_the_containers_of_a_killed_deployment(
    daemon: Deployment, neighbour: Deployment
) -> None:
    daemon.up()
    task = busy(daemon)
    before, others = daemon.containers(), neighbour.containers()
    kill_all(daemon.home)
    assert before & daemon.containers(), "the busy one does not notice"
    up = daemon.up()
    until_gone(daemon, before)
    assert neighbour.containers() == others
    daemon.until_status(task, "processing")
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["worker_lost"]
    daemon.until_warm()
    until(lambda: len(daemon.on_the_disk()) == 2, SECONDS, "the end of what the first node had on the disk")
    up.stop()
    assert (daemon.containers(), daemon.on_the_disk()) == (set(), [])


def test_a_living_node_removes_the_containers_of_a_killed_one(daemon: Deployment) -> None:
    daemon.web()
    first = daemon.worker()
    daemon.until_warm()
    task = busy(daemon)
    before = daemon.containers()
    second = daemon.worker()
    until(lambda: len(daemon.containers()) == 4, what="the second node's containers")
    first.kill()
    # Before the task may run again, all of them must be dead: one could begin the line that it has not read.
    until(lambda: daemon.attempts(task), what="the end of the first attempt")
    assert not before & daemon.containers("status=running")
    until_gone(daemon, before)
    assert len(daemon.containers()) == 2
    daemon.until_status(task, "processing")
    until(lambda: len(daemon.on_the_disk()) == 2, SECONDS, "the end of what the first node had on the disk")
    assert second.stop() == 0
    assert (daemon.containers(), daemon.on_the_disk()) == (set(), [])
