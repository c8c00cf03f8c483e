"""SIGHUP: ends no web server and no worker, and drains `up`, whose terminal may have been closed.

A worker without `up`: test_worker_alone.py.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from testkit.daemon import Daemon, open_gate
from testkit.process import PROJECT, children, of_home, until

IGNORED = "SIGHUP is ignored: there is no reload"


def test_web_and_worker_go_on_and_say_so_and_up_drains_when_its_terminal_is_closed(daemon: Daemon) -> None:
    mine, terminal = pty.openpty()
    # Its own session, whose terminal this becomes: closed, the kernel sends SIGHUP.
    opens = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    words = [sys.executable, "-c", opens, sys.executable, "manage.py", "up"]
    up = subprocess.Popen(
        words, cwd=PROJECT, env=daemon.environment, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    said = b""

    def until_said(words: str, times: int = 1) -> None:
        nonlocal said
        while said.count(words.encode()) < times:
            said += os.read(mine, 65536)

    until_said("  ready  ")
    gates = [daemon.gate() for _ in range(2)]
    tasks = [daemon.post("act", {"do": "wait", "gate": str(gate)}) for gate in gates]
    for task in tasks:
        daemon.until_starts(task)
    web, worker = before = children(up.pid)
    serving = children(web)
    for pid in (web, *serving, worker):
        os.kill(pid, signal.SIGHUP)
    until_said(IGNORED, times=2)
    assert daemon.answers("/health")
    open_gate(gates[0])
    until(lambda: daemon.attempts(tasks[0]) or daemon.attempts(tasks[1]), what="the end of a task")
    assert (children(up.pid), children(web)) == (before, serving)
    os.close(mine)
    until((daemon.home / "draining").exists, what="the mark of a drain")
    open_gate(gates[1])
    assert up.wait(60) == 0
    for task in tasks:
        assert [row["outcome"] for row in daemon.attempts(task)] == ["success"]
    assert of_home(daemon.home) == {}
    assert not list(Path(daemon.home, "nodes").iterdir())
