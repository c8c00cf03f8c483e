"""Waiting for signals in a process that is stopped meanwhile, as Ctrl-Z does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from testkit.process import PROJECT, state, until

SECONDS = 0.3
#: Waits twice, and prints what came.
WAITS = f"""
from signal import SIGTERM
import django
django.setup()
from tasks_app.management.supervisor import block, wait_for_signal
block([SIGTERM])
print("waits", flush=True)
print(*(repr(wait_for_signal([SIGTERM], {SECONDS})) for _ in range(2)), flush=True)
"""


def test_a_signal_that_comes_during_a_stop_that_outlasts_the_wait_is_not_lost() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "waits\n"
            until(lambda: state(process.pid) == "S", what="its sleep")
            process.send_signal(signal.SIGSTOP)
            until(lambda: state(process.pid) == "T", what="its stop")
            over = time.monotonic() + SECONDS
            until(lambda: time.monotonic() > over, what="the end of its time")
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
            assert process.stdout.read() == "None <Signals.SIGTERM: 15>\n"
        finally:
            process.kill()
