"""A process at its start: the name that it gets, and what signals do to it and to those that it forks."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_PR_SET_NAME = 15
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
#: The kernel truncates longer names.
MAX_NAME_BYTES = 15
ENDS = (signal.SIGTERM, signal.SIGINT)


def name_process(name: str) -> None:
    """Set this process's name. Call it in the first thread: in another one it names only that thread.

    Sets the kernel's name, not the command line as setproctitle does: that overwrites the environment in /proc, by
    which an operator can tell which DAEMON_HOME a process uses.
    """
    if _prctl is not None:
        _prctl(_PR_SET_NAME, os.fsencode(name)[:MAX_NAME_BYTES], 0, 0, 0)


def end_forked_at_signals() -> None:
    """From now on SIGTERM and SIGINT end each process that the main thread forks, from its first moment on."""
    # Blocked until the forked process has set them: Python drops a signal that comes before.
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, ENDS),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, ENDS),
        after_in_child=_in_child,
    )


def _in_child() -> None:
    for signum in ENDS:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


def on_stop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Call `call` in the loop at SIGTERM and SIGINT, and then what was called before. In the main thread."""
    for signum in ENDS:
        _on(signum, loop, call)


def _on(signum: int, loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    # The loop calls the server's own handler by its wake-up descriptor, whatever the handler here is.
    previous = signal.getsignal(signum)

    def handle(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(call)
        if callable(previous):
            previous(number, frame)

    signal.signal(signum, handle)


def on_hangup(call: Callable[[], object]) -> None:
    """From now on SIGHUP calls this, and ends the process no more. Call it in the main thread.

    `call` runs in the signal handler: it must be reentrant, and must neither log nor take a lock.
    """
    signal.signal(signal.SIGHUP, lambda *_: call())
