"""An orderly stop beside a Docker engine that is slow: what it leaves it says, and the next start removes it."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testkit.images.recipes import BUSYBOX
from testkit.process import children, until
from tests.chaos.slow_engine import SlowEngine
from tests.docker.slow_creates import ENGINE
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=60)

REPLY = 'while read -r line; do echo "{\\"status\\":\\"success\\",\\"result\\":1}"; done'
HANDLER = f'image = "{BUSYBOX}"\ncommand = {json.dumps(["/bin/sh", "-c", REPLY])}\ninstances = 2\n'
HANDLERS = f"[handlers.first]\n{HANDLER}\n[handlers.second]\n{HANDLER}"
#: Longer than any stop.
SECONDS = 120.0


@pytest.fixture
def slow() -> Iterator[SlowEngine]:
    with tempfile.TemporaryDirectory(prefix="slow-", dir="/tmp") as folder:
        with closing(SlowEngine(Path(folder) / "engine.sock", ENGINE)) as engine:
            yield engine


@pytest.fixture
def daemon(deploy: Callable[..., Deployment], slow: SlowEngine) -> Deployment:
    return deploy(HANDLERS, DAEMON_DRAIN_TIMEOUT="1", **slow.environment)


def starts_again_and_removes_what_is_left(daemon: Deployment) -> None:
    before = daemon.containers()
    up = daemon.up()
    until(lambda: daemon.containers().isdisjoint(before), what="the removal of old containers")
    assert up.stop() == 0
    assert daemon.containers() == set()
    assert daemon.on_the_disk() == []


def test_containers_that_the_engine_has_not_removed_are_named_and_the_exit_code_is_3(
    daemon: Deployment, slow: SlowEngine
) -> None:
    up = daemon.up()
    containers = daemon.containers()
    assert len(containers) == 4
    with slow.slow("removals", SECONDS):
        assert up.stop() == 3
        assert daemon.containers() == containers
        for each in containers:
            assert f"container {each[:12]} is left: the Docker engine has not removed it in time" in up.said()
        assert "  stopped\n  left      the Docker engine was too slow to remove the containers" in up.said()
        assert "The next start removes them, and `" in up.said() and "clean --yes` does now (exit code 3)" in up.said()
    until(lambda: not daemon.containers(), what="the removals that the engine was asked for")
    starts_again_and_removes_what_is_left(daemon)


def test_containers_whose_kills_wait_are_removed_at_the_end(daemon: Deployment, slow: SlowEngine) -> None:
    up = daemon.up()
    assert len(daemon.containers()) == 4
    with slow.slow("kills", SECONDS):
        assert up.stop() == 0
        assert daemon.containers() == set()
    starts_again_and_removes_what_is_left(daemon)


def test_a_container_that_comes_after_the_stop_is_announced_and_the_next_start_removes_it(
    daemon: Deployment, slow: SlowEngine
) -> None:
    with slow.slow("creates", SECONDS):
        worker = daemon.worker()
        until(lambda: slow.held == 4, what="creates that wait")
        assert worker.stop() == 3
        assert "up to 4 more containers may come: the Docker engine was asked to create them" in worker.said()
        assert daemon.on_the_disk() == []
    starts_again_and_removes_what_is_left(daemon)


def test_a_worker_that_up_has_to_kill_leaves_containers_and_the_exit_code_is_3(daemon: Deployment) -> None:
    up = daemon.up()
    containers = daemon.containers()
    [worker] = [pid for pid in children(up.pid) if "tasks-worker" in Path(f"/proc/{pid}/comm").read_text()]
    os.kill(worker, signal.SIGSTOP)
    up.signal(signal.SIGTERM)
    up.until_says("stopping")
    up.signal(signal.SIGTERM)  # once more: the worker has 20 s
    assert up.ends() == 3
    assert "  left      the worker did not end in time and was killed, which may leave containers" in up.said()
    assert daemon.containers() == containers
    starts_again_and_removes_what_is_left(daemon)
