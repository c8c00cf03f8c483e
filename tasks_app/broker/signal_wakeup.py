"""A signal ends the wait of Celery's event loop, which otherwise notices a stop when its broker says something."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from functools import cache
from typing import Any


@cache
def _pair() -> tuple[socket.socket, socket.socket]:
    """What to read from, and where Python writes each signal's number. For all loops of the process."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    return reading, writing


def wake_on_signals(hub: Any) -> None:
    """Let `hub` look for a stop after each signal. Call in the main thread, for each connection of a consumer."""
    reading = _pair()[0]
    hub.add_reader(reading, _forget, reading)


def _forget(reading: socket.socket) -> None:
    with suppress(BlockingIOError):
        reading.recv(1024)
