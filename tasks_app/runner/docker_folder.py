"""Directories of containers on this machine's disk: one each, gone with it, or swept once their node was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import threading
import time
from pathlib import Path

#: Seconds for which a folder that nobody has locked may just have been made.
YOUNG = 5.0


class Folder:
    """`base` has a folder for each engine that has containers: locked as long as its process lives. Any thread."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._guard = threading.Lock()
        self._own: Path | None = None
        self._lock = -1
        self._used: set[Path] = set()

    def make(self) -> Path:
        """A new directory. All may pass through it and we alone list it; those above are ours. Raises OSError."""
        with self._guard:
            if self._own is None:
                self._begin()
            assert self._own is not None
            directory = self._own / secrets.token_hex(6)
            directory.mkdir(mode=0o700)
            self._used.add(directory)
            # Whatever the umask is.
            directory.chmod(0o711)
            return directory

    def remove(self, directory: Path) -> None:
        """It is needed no more. With the last one the folder goes."""
        with self._guard:
            shutil.rmtree(directory, ignore_errors=True)
            self._used.discard(directory)
            if not self._used and self._own is not None:
                self._end()

    def sweep(self) -> int:
        """Remove what processes left that were killed. Answers how many of them."""
        swept = 0
        for folder in self._base.glob("*"):
            if folder == self._own:
                continue
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if time.time() - os.fstat(descriptor).st_mtime >= YOUNG:
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
        self._lock = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._own = own

    def _end(self) -> None:
        assert self._own is not None
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)
        self._own = None
