"""A child process that cannot outlive the process that spawned it (Linux; elsewhere it can)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def die_with_parent(parent: int) -> Callable[[], None]:
    """What a child of the process `parent` runs before its program, or at its start: SIGKILL when the parent dies.

    The signal comes when the *thread* that spawned the child ends: spawn from one that lasts.
    """
    prctl, getppid, kill_signal = _prctl, os.getppid, int(signal.SIGKILL)

    def in_the_child() -> None:
        # Between fork and exec other threads' locks may be held for ever: no imports, no logging in here.
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, kill_signal, 0, 0, 0)
            if getppid() != parent:  # it died before we asked to be told
                os.kill(os.getpid(), kill_signal)

    return in_the_child
