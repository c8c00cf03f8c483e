"""What every process of the platform needs, web server or worker: a name, what signals do to it, fail points."""

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

import structlog
from django.db import OperationalError

from tasks_app import conf

if TYPE_CHECKING:
    import asyncio

log = structlog.get_logger(__name__)

_PR_SET_NAME = 15
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
#: The kernel truncates longer names.
MAX_NAME_BYTES = 15
ENDS = (signal.SIGTERM, signal.SIGINT)
#: The exit code of `worker` and `up` after an orderly stop that left containers behind.
LEFT_BEHIND = 3


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


# Fail points: named points at which a test can make a process fail. Never set in production.
#
# `DAEMON_FAIL_POINT=before_settle` kills the process at that point, as `kill -9` would; `before_settle:raise` raises a
# database error instead; `before_settle:kill:/some/file` fails only in the first process that creates the file.


_armed, _, _rest = (conf.environment().fail_point or "").partition(":")
_action, _, _once = (_rest or "kill").partition(":")
#: Whether one is set. What every task passes asks this first, and calls nothing in production.
ARMED = bool(_armed)

if ARMED:
    log.warning("DAEMON_FAIL_POINT is set: this process will fail on purpose", fail_point=_armed, action=_action)


def fail_point(name: str) -> None:
    """Fail here if this point is set."""
    if name != _armed:
        return
    if _once:
        try:
            os.close(os.open(_once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    log.warning("failing on purpose", fail_point=name, action=_action)
    if _action == "raise":
        raise OperationalError(f"DAEMON_FAIL_POINT={name}")
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # no further instruction runs before the kill
