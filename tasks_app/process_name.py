"""What `ps`, `top` and `pgrep` call a process of ours: all of them are Python running manage.py."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_NAME = 15
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

#: Bytes; the kernel cuts off what is longer.
LONGEST = 15


def name_process(name: str) -> None:
    """Call this process `name`. For its first thread: elsewhere it would name that thread.

    The kernel's own name, not the command line (setproctitle): that would overwrite the environment in /proc, by which
    people and tools find out whose DAEMON_HOME a process has.
    """
    if _prctl is not None:
        _prctl(_PR_SET_NAME, os.fsencode(name)[:LONGEST], 0, 0, 0)
