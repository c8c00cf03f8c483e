"""One node's socket: bound under a random name, checked, and removed at the end."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import stat
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Self

# The directory with the sockets of all nodes that share a DAEMON_HOME.

# A socket's path has at most 104 bytes on macOS and 108 on Linux, including the final NUL.
MAX_PATH_BYTES = 103
# Other versions use the same directory.
DIRECTORY_NAME = "bells"
SOCKET_NAME_BYTES = 13


class DirectoryRefused(PermissionError):
    """The directory belongs to another user or is open to others, who could read or send notifications."""


def socket_directory(home: Path) -> Path:
    """The directory for the sockets of `home` (DAEMON_HOME); it is not created.

    `home/bells`, or `/tmp/taskdaemon-UID-HASH` if that is too long for a socket's path. Depends only on `home` and the
    user: a node started by systemd and a web process started in a terminal have different TMPDIR and XDG_RUNTIME_DIR,
    and must find each other.
    """
    real = os.path.realpath(home)
    inside = Path(real, DIRECTORY_NAME)
    if len(os.fsencode(inside)) + 1 + SOCKET_NAME_BYTES <= MAX_PATH_BYTES:
        return inside
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    return Path(f"/tmp/taskdaemon-{os.geteuid()}-{digest}")


def make_directory(home: Path) -> Path:
    """Create the directory (mode 0700) if it is missing, check it, and return it.

    Raises `DirectoryRefused` as `check_directory` does, another `OSError` if it cannot be created.
    """
    directory = socket_directory(home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_directory(directory)
    return directory


def check_directory(directory: Path) -> None:
    """Raise `DirectoryRefused` unless it is a real directory that belongs to this user and is closed to all others.

    Raises `FileNotFoundError` if it is missing.
    """
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise DirectoryRefused(f"{directory} is not a directory: remove it; nodes keep their sockets there")
    if found.st_uid != os.geteuid():
        raise DirectoryRefused(f"{directory} belongs to user {found.st_uid}, not to this process's ({os.geteuid()})")
    if found.st_mode & 0o077:
        raise DirectoryRefused(f"{directory} is open to other users: chmod 700 it")


def sockets(directory: Path) -> Iterator[str]:
    """The paths of its sockets, including those of dead nodes; none if there is no directory."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.path
    except FileNotFoundError:
        return


MAX_DATAGRAM_BYTES = 65536
# A temporary name is older than this only if its owner died between bind and rename.
UNFINISHED_AFTER_SECONDS = 60.0


class Listener:
    """A Unix datagram socket that receives every notification sent in `home`. For one thread.

    The constructor and `check` raise `OSError` if it cannot be bound.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._bind()

    def __repr__(self) -> str:
        return f"<Listener {self.path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, limit: int = 1000) -> Iterator[bytes]:
        """The datagrams that wait, at most `limit`; never blocks."""
        for _ in range(limit):
            try:
                yield self._socket.recv(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return

    def check(self) -> bool:
        """Bind again if the file is gone or replaced; True if it was. Notifications sent meanwhile are lost."""
        try:
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._inode:
                return False
        except OSError:
            pass
        self.close()
        self._bind()
        return True

    def close(self) -> None:
        """Remove the file and close the socket; idempotent."""
        self._finalizer()

    def _bind(self) -> None:
        directory = make_directory(self._home)
        sweep(directory)
        name = secrets.token_hex(6)
        unfinished, self.path = directory / f".{name}", directory / name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind(os.fspath(unfinished))
            # Between bind and the first moment at which it accepts data, a sender would take the socket for dead and
            # remove it. The file gets its public name after that.
            unfinished.rename(self.path)
            found = os.lstat(self.path)
        except BaseException:
            self._socket.close()
            raise
        self._inode = (found.st_dev, found.st_ino)
        # Also runs at interpreter exit, so a node that ends without closing leaves no file.
        self._finalizer = weakref.finalize(self, _remove, self._socket, self.path, self._inode, os.getpid())


def _remove(listener: socket.socket, path: Path, inode: tuple[int, int], owner: int) -> None:
    listener.close()
    if os.getpid() != owner:  # a forked child has a copy of the socket; the file is its parent's
        return
    try:
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == inode:
            path.unlink()
        if path.parent.name != DIRECTORY_NAME:  # in /tmp: the last node removes the directory
            path.parent.rmdir()
    except OSError:
        pass


def sweep(directory: Path) -> int:
    """Remove the sockets of dead nodes. Returns their number."""
    removed = 0
    for path in sockets(directory):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                removed += remove_dead(Path(path))
            except OSError:
                pass
    for unfinished in directory.glob(".*"):
        try:
            if time.time() - unfinished.lstat().st_mtime > UNFINISHED_AFTER_SECONDS:
                unfinished.unlink()
        except OSError:
            pass
    return removed


def remove_dead(path: Path) -> bool:
    """Remove a socket that refused a connection; True if it was still there."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
