"""A descriptor that is readable once this process has been sent a signal: whoever waits need not wake up to ask."""

from __future__ import annotations

import os
import signal
import threading
from typing import Self


class SignalPipe:
    """For the main thread, whose wait goes on after a signal's handler (PEP 475)."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write

    @classmethod
    def opened(cls) -> Self | None:
        """None in any other thread, and where somebody else is told of signals in this way."""
        if threading.current_thread() is not threading.main_thread():
            return None
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        pipe = cls(read, write)
        if (theirs := signal.set_wakeup_fd(write, warn_on_full_buffer=False)) != -1:
            signal.set_wakeup_fd(theirs)
            pipe._close()
            return None
        return pipe

    def fileno(self) -> int:
        """To be polled."""
        return self._read

    def clear(self) -> None:
        """Forget the signals so far."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """To be called once. Elsewhere than in the main thread the descriptors stay open: signals are told there."""
        if threading.current_thread() is not threading.main_thread():
            return
        if (now := signal.set_wakeup_fd(-1)) not in (-1, self._write):
            signal.set_wakeup_fd(now)
        self._close()

    def _close(self) -> None:
        os.close(self._read)
        os.close(self._write)
