"""The engine is killed while a deployment runs, and comes back: the pool is full again and nothing is left."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from testkit.images.recipes import BUSYBOX
from testkit.process import kill_all, until
from tests.docker.second_engine import SecondEngine, second_engine
from tests.docker_handlers.conftest import Deployment
from tests.docker_handlers.test_nothing_is_left import HANDLER, busy

pytestmark = [
    pytest.mark.long("an engine that is killed", seconds=30),
    pytest.mark.waiting,
]

SECONDS = 30.0


@pytest.fixture(scope="module")
def second() -> Iterator[SecondEngine]:
    with second_engine(BUSYBOX) as engine:
        yield engine


@pytest.fixture(scope="module")
def daemon(deploy: Callable[..., Deployment], second: SecondEngine) -> Iterator[Deployment]:
    daemon = deploy(HANDLER, DOCKER_HOST=second.host, DAEMON_DRAIN_TIMEOUT="0")
    daemon.up()
    yield daemon
    daemon.close()


def until_new(daemon: Deployment, before: set[str]) -> None:
    """Wait until there are two containers, and none of the earlier ones."""
    there: set[str] = set()

    def replaced() -> bool:
        there.clear()
        there.update(daemon.containers())
        return len(there) == 2 and not there & before

    until(replaced, SECONDS, lambda: f"two new containers; there are {there}, there were {before}")
    daemon.until_warm()


def test_an_engine_that_is_killed_under_a_node_leaves_nothing_of_it(daemon: Deployment, second: SecondEngine) -> None:
    task, before = busy(daemon), daemon.containers()
    second.stop(signal.SIGKILL)
    second.start()
    until_new(daemon, before)
    daemon.until_status(task, "processing")
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["crash"]
    assert daemon.until_final(daemon.post("act"))["result"] == 1
    assert daemon.http.delete(f"/api/tasks/{task}").status_code == 204
    until(daemon.all_final, what="the end of its task")
    daemon.until_warm()


def test_an_engine_and_the_daemon_killed_at_once_leave_nothing(daemon: Deployment, second: SecondEngine) -> None:
    task, before = busy(daemon), daemon.containers()
    second.stop(signal.SIGKILL)
    kill_all(daemon.home)
    second.start()
    up = daemon.up()
    until_new(daemon, before)
    daemon.until_status(task, "processing")
    until(lambda: len(daemon.on_the_disk()) == 2, SECONDS, "the end of what the first node had on the disk")
    up.stop()
    assert (daemon.containers(), daemon.on_the_disk()) == (set(), [])
