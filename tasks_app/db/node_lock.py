"""The file that a node keeps locked while it lives. The kernel unlocks it when the process dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from functools import cache
from pathlib import Path


@cache
def boot_id() -> str:
    """The kernel's id of this boot."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "one-boot"


def lock_domain(home: Path) -> str:
    """Identifies the nodes that see each other's locks: one boot of one kernel and one folder as DAEMON_HOME.

    The folder is identified by its inode, not its path or the host's name: workers in containers share a volume but not
    a host name.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = home.stat()
    except OSError:
        return f"{boot_id()}:{socket.gethostname()}:{home}"  # no node can lock a file here
    return f"{boot_id()}:{there.st_dev}:{there.st_ino}"


def _path(home: Path, name: str) -> Path:
    return home / "nodes" / f"{name}.lock"


class NodeLock:
    """A node's lock. Held until `release`, or until the process dies."""

    def __init__(self, home: Path, name: str) -> None:
        self._file = _path(home, name)
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self, noted: bool = True) -> None:
        """Unlock. Keeps the file unless the node's row is `noted` as stopped: from the file other nodes see that this
        node ended."""
        if noted:
            self._file.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_dead(home: Path, name: str) -> bool:
    """Whether a node of this lock domain is certainly dead; False if it has no file, which proves nothing."""
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
    """Record a heartbeat in the file's time, which deploy/health.py reads."""
    with contextlib.suppress(OSError):
        os.utime(_path(home, name))


def has_lock(home: Path, name: str) -> bool:
    """Whether that node's lock file exists."""
    return _path(home, name).exists()


def remove_lock(home: Path, name: str) -> None:
    """Remove the lock file of a dead node."""
    _path(home, name).unlink(missing_ok=True)
