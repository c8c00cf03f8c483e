"""A process that dies is started again."""

from __future__ import annotations

import errno
import os
import signal
import time

import pytest

from tasks_app.management.child import Child
from testkit.daemon import Daemon
from testkit.process import children, until


@pytest.mark.parametrize("name", ["web", "worker"])
def test_a_child_that_is_killed_is_started_again_and_it_is_said(daemon: Daemon, name: str) -> None:
    up = daemon.up()
    web, worker = children(up.pid)
    os.kill({"web": web, "worker": worker}[name], signal.SIGKILL)
    up.until_says(rf"^  {name} was killed by SIGKILL after \d+ s; starting it again in 0\.5 s")
    until(lambda: len(children(up.pid)) == 2, what="two children")
    until(lambda: daemon.answers("/health"), what="health")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"


def test_the_process_that_answers_requests_is_replaced_when_it_is_killed(daemon: Daemon) -> None:
    up = daemon.up()
    (server,) = children(children(up.pid)[0])
    os.kill(server, signal.SIGKILL)
    until(lambda: daemon.answers("/health") and server not in children(children(up.pid)[0]), what="a new server")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"


def test_a_web_server_whose_serving_process_dies_twice_within_seconds_says_so_and_is_started_again(
    daemon: Daemon,
) -> None:
    up = daemon.up()
    (first,) = children(children(up.pid)[0])
    os.kill(first, signal.SIGKILL)
    until(lambda: (now := children(children(up.pid)[0])) and now != [first], what="a second serving process")
    os.kill(children(children(up.pid)[0])[0], signal.SIGKILL)
    up.until_says("Worker crash loop detected")
    up.until_says(r"^  web ended with 1 after \d+ s; starting it again in 0\.5 s")
    until(lambda: len(children(up.pid)) == 2, what="two children")
    until(lambda: daemon.answers("/health"), what="health")


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
