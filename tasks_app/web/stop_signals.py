"""Calls something in an event loop when the process is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType


def on_stop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Call `call` in the loop at SIGTERM and SIGINT, and then what was called before. In the main thread."""
    for signum in (signal.SIGTERM, signal.SIGINT):
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
