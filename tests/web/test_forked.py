"""Signals to the process that the web server forks."""

from __future__ import annotations

import subprocess
import sys

from testkit.process import PROJECT


def test_a_forked_process_is_ended_by_a_signal_that_comes_before_it_has_run() -> None:
    # On one processor the parent runs on after its fork.
    code = """
import os, signal, time
from tasks_app.process import end_forked_at_signals
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
signal.signal(signal.SIGTERM, lambda *_: None)
end_forked_at_signals()
for _ in range(20):
    if (pid := os.fork()) == 0:
        time.sleep(60)
    os.kill(pid, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
"""
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, timeout=50)
