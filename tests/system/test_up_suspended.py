"""Ctrl-Z at the terminal of `up`, and `fg`."""

from __future__ import annotations

import sys
import time

import pytest

from testkit.daemon import Daemon
from testkit.process import children, of_home, state, until
from testkit.terminal import Terminal

pytestmark = pytest.mark.one_leg("signals to processes")

CTRL_C, CTRL_Z = "\x03", "\x1a"


def test_up_that_was_suspended_for_longer_than_it_sleeps_goes_on_and_ends_when_it_is_told_to(daemon: Daemon) -> None:
    terminal = Terminal(daemon.environment, "sh", "-i")
    terminal.type(f"{sys.executable} manage.py up\n")
    (up,) = until(lambda: children(terminal.popen.pid), what="up")
    until(lambda: len(children(up)) == 2, what="its children")
    terminal.type(CTRL_Z)
    until(lambda: state(up) == "T", what="its stop")
    over = time.monotonic() + 0.1  # twice as long as it sleeps while it starts
    until(lambda: time.monotonic() > over, what="the end of its sleep")
    terminal.type("fg\n")
    terminal.until_says("  ready  ")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    terminal.type(CTRL_C)
    terminal.until_says("  stopped")
    terminal.type("echo up ended with $?\n")
    assert terminal.until_says(r"up ended with (\d+)")[1] == "0"
    assert list(of_home(daemon.home)) == [terminal.popen.pid]
    terminal.close()
    terminal.popen.wait(60)
