"""A directory for each container's FIFOs: removed with the container, or by a sweep after its node was killed.

They are in one *folder* for each process, whose lock tells whether the process lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import threading
import time
from pathlib import Path

#: A younger folder without a lock may belong to a process that is just creating it.
MIN_AGE_SECONDS = 5.0


class FifoDirectories:
    """This process's folder below `base`: locked while the process lives, and there while it has directories."""

    def __init__(self, base: Path) -> None:
        self._base = base
        #: Held by the threads of slots, which write what follows.
        self._mutex = threading.Lock()
        self._own: Path | None = None
        self._lock_fd = -1
        self._used: set[Path] = set()

    def make(self) -> Path:
        """Make a directory that all users may pass through and only this user may list. Raises OSError."""
        with self._mutex:
            if self._own is None:
                self._begin()
            assert self._own is not None
            directory = self._own / secrets.token_hex(6)
            directory.mkdir(mode=0o700)
            self._used.add(directory)
            # `mkdir` applies the umask; `chmod` does not.
            directory.chmod(0o711)
            return directory

    def remove(self, directory: Path) -> None:
        """Remove a directory; with the last one, also the folder."""
        with self._mutex:
            shutil.rmtree(directory, ignore_errors=True)
            self._used.discard(directory)
            if not self._used and self._own is not None:
                self._end()

    def sweep(self) -> int:
        """Remove the folders of killed processes, and return how many."""
        swept = 0
        for folder in self._base.glob("*"):
            if folder == self._own:
                continue
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if time.time() - os.fstat(descriptor).st_mtime >= MIN_AGE_SECONDS:
                        shutil.rmtree(folder, ignore_errors=True)
                        swept += 1
                finally:
                    os.close(descriptor)
        return swept

    def _begin(self) -> None:
        self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._base.chmod(0o700)
        own = self._base / secrets.token_hex(6)
        own.mkdir(mode=0o700)
        self._lock_fd = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._own = own

    def _end(self) -> None:
        assert self._own is not None
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock_fd)
        self._own = None
