"""SIGHUP: `up`, its web server and its worker reload handlers.toml; with a terminal, which may be closed, `up` drains.

A worker without `up`: test_worker_alone.py.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from testkit.daemon import Daemon, open_gate
from testkit.process import children, of_home, until
from testkit.terminal import Terminal

pytestmark = [pytest.mark.long("starts", seconds=12), pytest.mark.one_leg("a signal to processes")]

READ = "handlers.toml was read again"


def test_web_and_worker_reload_and_go_on_and_up_drains_when_its_terminal_is_closed(daemon: Daemon) -> None:
    terminal = Terminal(daemon.environment, sys.executable, "manage.py", "up")
    up = terminal.popen
    terminal.until_says("  ready  ")
    gates = [daemon.gate() for _ in range(2)]
    tasks = [daemon.post("act", {"do": "wait", "gate": str(gate)}) for gate in gates]
    for task in tasks:
        daemon.until_starts(task)
    web, worker = before = children(up.pid)
    serving = children(web)
    for pid in (web, worker):
        os.kill(pid, signal.SIGHUP)
    terminal.until_says(READ, times=2)
    assert daemon.answers("/health")
    open_gate(gates[0])
    until(lambda: daemon.attempts(tasks[0]) or daemon.attempts(tasks[1]), what="the end of a task")
    assert (children(up.pid), children(web)) == (before, serving)
    terminal.close()
    until((daemon.home / "draining").exists, what="the mark of a drain")
    open_gate(gates[1])
    assert up.wait(60) == 0
    for task in tasks:
        assert [row["outcome"] for row in daemon.attempts(task)] == ["success"]
    assert of_home(daemon.home) == {}
    assert not list(Path(daemon.home, "nodes").iterdir())
