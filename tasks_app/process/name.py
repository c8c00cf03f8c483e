"""The name of a process in `ps`, `top` and `pgrep`; all of them run Python with manage.py."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_NAME = 15
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

#: The kernel truncates longer names.
MAX_NAME_BYTES = 15


def name_process(name: str) -> None:
    """Set this process's name. Call it in the first thread: in another one it names only that thread.

    Sets the kernel's name, not the command line as setproctitle does: that overwrites the environment in /proc, by
    which an operator can tell which DAEMON_HOME a process uses.
    """
    if _prctl is not None:
        _prctl(_PR_SET_NAME, os.fsencode(name)[:MAX_NAME_BYTES], 0, 0, 0)
