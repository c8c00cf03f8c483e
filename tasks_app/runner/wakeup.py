from __future__ import annotations

import os
import threading


class Wakeup:
    """Wakes a thread that polls. Any thread may call `notify`, after `close` too."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._read = self._write = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
        self._closed = False
        # A notify after the close would write to whatever file has the descriptor by then.
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The descriptor that is readable after a `notify`."""
        return self._read

    def notify(self) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                os.write(self._write, b"\1\0\0\0\0\0\0\0")
            except BlockingIOError:
                pass  # Enough notifications are pending.

    def clear(self) -> None:
        """Discard all notifications so far."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._read)
                if self._write != self._read:
                    os.close(self._write)
