"""One node's doorbell socket: bound under a random name, watched, removed at the end."""

from __future__ import annotations

import os
import secrets
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tasks_app.broker.bell_directory import NAME, make_directory, sockets

LARGEST_DATAGRAM = 65536
# An unfinished name is older than this only if its owner died between bind and rename.
UNFINISHED_AFTER = 60.0


class Ear:
    """A Unix datagram socket that hears every bell rung in `home`. One thread uses it.

    Raises `OSError` from the constructor and from `check` when it cannot be bound.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._bind()

    def __repr__(self) -> str:
        return f"<Ear {self.path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def hear(self, limit: int = 1000) -> Iterator[bytes]:
        """The datagrams that wait, at most `limit`; never blocks."""
        for _ in range(limit):
            try:
                yield self._socket.recv(LARGEST_DATAGRAM)
            except BlockingIOError:
                return

    def check(self) -> bool:
        """Bind again if our file is gone (or is another's); True if it was. Bells rung meanwhile are lost."""
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
        """Remove the file and close the socket; again is no fault."""
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
            # A file exists a moment before its socket answers, and a sender takes silence for death and removes
            # it. So it gets its public name once it answers.
            unfinished.rename(self.path)
            found = os.lstat(self.path)
        except BaseException:
            self._socket.close()
            raise
        self._inode = (found.st_dev, found.st_ino)
        # Runs at interpreter exit too, so that a node that ends without closing leaves no file.
        self._finalizer = weakref.finalize(self, _remove, self._socket, self.path, self._inode, os.getpid())


def _remove(ear: socket.socket, path: Path, inode: tuple[int, int], owner: int) -> None:
    ear.close()
    if os.getpid() != owner:  # a forked child has a copy of the socket; the file is its parent's
        return
    try:
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == inode:
            path.unlink()
        if path.parent.name != NAME:  # in /tmp: the last one leaves nothing
            path.parent.rmdir()
    except OSError:
        pass


def sweep(directory: Path) -> int:
    """Remove the sockets of dead owners; how many there were."""
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
            if time.time() - unfinished.lstat().st_mtime > UNFINISHED_AFTER:
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
