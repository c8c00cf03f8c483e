"""A child process that cannot outlive the process that spawned it (Linux; elsewhere it can)."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
#: Ended if the parent died before we asked to be told; no core; and of its own variables a shell leaves none.
_SCRIPT = 'ulimit -c 0; unset PWD OLDPWD; [ "$PPID" = "$0" ] || kill -9 $$; exec "$@"'


def tied(command: Sequence[str], parent: int) -> list[str] | None:
    """What starts `command` so that it dies with the process `parent`, leaves no core, and runs no Python before it.

    A child of many threads may find any lock held, for ever: Python takes some between fork and exec, and so do the
    libraries that want to hear of a fork. None where there is no `setpriv` of util-linux. The signal comes when the
    *thread* that spawned the child ends: spawn from one that lasts.
    """
    tool = _setpriv()
    return (
        None if tool is None else [tool, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _SCRIPT, str(parent), *command]
    )


@cache
def _setpriv() -> str | None:
    if sys.platform != "linux" or (tool := shutil.which("setpriv")) is None:
        return None
    words = [tool, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", "ulimit -c 0"]  # busybox's knows no such word
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return tool if done.returncode == 0 else None


def die_with_parent(parent: int) -> Callable[[], None]:
    """What a child of the process `parent` runs at its start, or before its program where it cannot be `tied`.

    SIGKILL when the parent dies, or when the *thread* of it that spawned the child ends: spawn from one that lasts.
    """
    prctl, getppid, kill_signal = _prctl, os.getppid, int(signal.SIGKILL)

    def in_the_child() -> None:
        # Between fork and exec other threads' locks may be held for ever: no imports, no logging in here.
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, kill_signal, 0, 0, 0)
            if getppid() != parent:  # it died before we asked to be told
                os.kill(os.getpid(), kill_signal)

    return in_the_child
