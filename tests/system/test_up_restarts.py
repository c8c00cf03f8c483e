"""A process that dies is started again."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks_app.management.supervisor import Child
from testkit.daemon import Daemon
from testkit.process import Process, children, until

pytestmark = [pytest.mark.long("kills", seconds=12), pytest.mark.one_leg("what becomes of processes")]


@pytest.fixture(scope="module")
def running(module_deployment: Callable[..., Daemon]) -> tuple[Daemon, Process]:
    """One `up` for these tests in turn: each ends a process of it, which is there again after the test."""
    daemon = module_deployment()
    daemon.handler("act")
    return daemon, daemon.up()


def test_the_process_that_answers_requests_is_replaced_when_it_is_killed(running: tuple[Daemon, Process]) -> None:
    daemon, up = running
    before = web(up)
    (server,) = children(before)
    os.kill(server, signal.SIGKILL)
    until(lambda: daemon.answers("/health") and server not in children(before), what="a new server")
    assert web(up) == before
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"


def test_a_worker_that_is_killed_is_started_again_and_it_is_said(running: tuple[Daemon, Process]) -> None:
    daemon, up = running
    _, worker = children(up.pid)
    os.kill(worker, signal.SIGKILL)
    up.until_says(r"^  worker was killed by SIGKILL after \d+ s; starting it again in 0\.5 s")
    until(lambda: len(children(up.pid)) == 2, what="two children")
    until(lambda: daemon.answers("/health"), what="health")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"


def test_a_web_server_that_is_killed_is_started_again_and_it_is_said(running: tuple[Daemon, Process]) -> None:
    daemon, up = running
    os.kill(web(up), signal.SIGKILL)
    up.until_says(r"^  web was killed by SIGKILL after \d+ s; starting it again in 0\.5 s")
    until(lambda: len(children(up.pid)) == 2, what="two children")
    until(lambda: daemon.answers("/health"), what="health")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"


def test_a_web_server_whose_serving_process_dies_twice_within_seconds_says_so_and_is_started_again(
    running: tuple[Daemon, Process],
) -> None:
    daemon, up = running
    before = web(up)
    (first,) = children(before)
    os.kill(first, signal.SIGKILL)
    until(lambda: (now := children(before)) and now != [first], what="a second serving process")
    os.kill(children(before)[0], signal.SIGKILL)
    up.until_says("Worker crash loop detected")
    up.until_says(r"^  web ended with 1 after \d+ s; starting it again in \d+\.\d s")
    until(lambda: web(up) != before, what="another web server")
    until(lambda: daemon.answers("/health"), what="health")


def web(up: Process) -> int:
    """The child that is the web server, once it has its name."""

    def look() -> int | None:
        names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in children(up.pid)}
        return next((pid for pid, name in names.items() if name == "tasks-web"), None)

    return until(look, what="a web server")


def test_a_child_for_which_there_is_no_process_is_tried_again_after_a_growing_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    child = Child("worker", lambda: None)
    with monkeypatch.context() as without:
        without.setattr(os, "fork", refuse)
        said = [child.start(), child.start()]
    sentence = "worker cannot be started: [Errno 11] Resource temporarily unavailable; trying again in {} s"
    assert said == [sentence.format(0.5), sentence.format("1.0")]
    assert child.pid is None and child.start_at > time.monotonic()
    assert child.died() is None and child.ended()
