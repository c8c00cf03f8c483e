"""How a node is known to be dead without waiting: a file that it keeps locked, until the kernel unlocks it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from tasks_app.clock import boot_id


def lock_domain(home: Path) -> str:
    """Where lock files mean something: one boot of one kernel, and one folder as DAEMON_HOME.

    The folder itself, by whatever path: workers in containers have host names of their own, and a volume in common.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = home.stat()
    except OSError:
        return f"{boot_id()}:{socket.gethostname()}:{home}"  # nobody can lock anything here
    return f"{boot_id()}:{there.st_dev}:{there.st_ino}"


def _path(home: Path, name: str) -> Path:
    return home / "nodes" / f"{name}.lock"


class NodeLock:
    """A living node's claim to be alive. Held until `release`, or until the process dies in any way."""

    def __init__(self, home: Path, name: str) -> None:
        self._file = _path(home, name)
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self, noted: bool = True) -> None:
        """The node has ended. If its row does not say so, the file does, to the next look."""
        if noted:
            self._file.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_dead(home: Path, name: str) -> bool:
    """Whether a node of this lock domain is certainly dead. A missing file says nothing, so it is not."""
    try:
        descriptor = os.open(_path(home, name), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def touch(home: Path, name: str) -> None:
    """The node is well: its file's time says when it was so last (deploy/health.py reads it)."""
    with contextlib.suppress(OSError):
        os.utime(_path(home, name))


def has_lock(home: Path, name: str) -> bool:
    """Whether there is a lock file of that node."""
    return _path(home, name).exists()


def forget(home: Path, name: str) -> None:
    """Remove the file of a dead node whose tasks have been taken over."""
    _path(home, name).unlink(missing_ok=True)
