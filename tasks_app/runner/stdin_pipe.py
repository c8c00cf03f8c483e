"""The methods of a Container whose stdin is a pipe or a FIFO of this kernel."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
from array import array
from collections.abc import Callable, Iterable

from tasks_app.runner.stdin_reader import StdinReader

#: The size of the pipe while a long line is sent: Linux's default.
WIDE_PIPE_BYTES = 64 * 1024


class StdinPipe:
    """A pipe of one page, which the kernel reports as writable only once everything sent has been read.

    That tells a slot that the handler reads again. Linux only: elsewhere `window` is 0. A handler that resizes its own
    pipe only loses the exact pairing of its own replies.
    """

    def __init__(self, descriptor: int, processes: Callable[[], Iterable[int]]) -> None:
        """`descriptor`: the non-blocking writing end. `processes`: returns the pids of the handler's processes."""
        self._in = descriptor
        self._reader = StdinReader(descriptor, processes)
        self._wide = False
        self._window = 0
        if sys.platform == "linux":
            try:
                self._window = fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1)
            except OSError:
                pass  # A kernel or sandbox without that call: replies are paired as over Docker's attach.

    def writer(self) -> int:
        return self._in

    def send(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._in, data)
        except BlockingIOError:
            return 0

    def window(self) -> int:
        if self._wide:
            self._window = fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, 1)
            self._wide = False
        return self._window

    def widen(self) -> None:
        if self._window and not self._wide:
            try:
                fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, WIDE_PIPE_BYTES)
                self._wide = True
            except OSError:
                pass  # Not permitted: the pipe keeps its size, which is slower and works.

    def unread(self) -> int | None:
        if not self._window:
            return None
        waiting = array("i", [0])
        fcntl.ioctl(self._in, termios.FIONREAD, waiting)
        return waiting[0]

    def is_reading(self) -> bool:
        return self._reader.is_waiting()
