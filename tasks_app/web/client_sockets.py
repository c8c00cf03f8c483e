"""The sockets of this process by their clients, and how much of what was sent a client has not read."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from termios import TIOCOUTQ

_DESCRIPTORS = "/proc/self/fd"
#: A search for new sockets asks each descriptor. Between two of them: so many times as long as one takes.
PAUSE_RATIO = 20.0


def client_of(connection: socket.socket) -> str:
    """`address:port` of the other side, as granian writes it. Raises OSError."""
    address = connection.getpeername()
    if not isinstance(address, tuple):
        raise OSError("a Unix socket has no address")
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unread_bytes(connection: socket.socket) -> int:
    """The bytes that the kernel has and the client's has not. Raises OSError."""
    return int(struct.unpack("i", ioctl(connection, TIOCOUTQ, b"\0" * 4))[0])


class ClientSockets:
    """Finds sockets by clients. Of one thread. Without /proc every client counts as one that reads."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}
        self._search_at = 0.0

    def has_read_all(self, client: str) -> bool | None:
        """Whether the client has all that the kernel was given; True if it is gone. None: it cannot be told yet."""
        if (unread := self._unread(client)) is None:
            if time.monotonic() < self._search_at:
                return None
            self._search()
            unread = self._unread(client)
        return not unread

    def forget(self, client: str) -> None:
        """The connection is of no interest any more."""
        self._fds.pop(client, None)

    def shut_down(self, client: str) -> None:
        """End the connection: the server sees an error, and frees what it has to send."""
        if (fd := self._fds.get(client)) is None:
            return
        with suppress(OSError):
            # A duplicate: the descriptor cannot become another connection's between the check and the end.
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=os.dup(fd)) as connection:
                if client_of(connection) == client:
                    connection.shutdown(socket.SHUT_RDWR)

    def _unread(self, client: str) -> int | None:
        if (fd := self._fds.get(client)) is None:
            return None
        with suppress(OSError), _borrowed(fd) as connection:
            if client_of(connection) == client:
                return unread_bytes(connection)
        del self._fds[client]  # closed meanwhile, or another one's by now
        return None

    def _search(self) -> None:
        """Find them all anew: a descriptor may be another connection's by now."""
        begun = time.monotonic()
        self._fds = {}
        with suppress(OSError):
            for name in os.listdir(_DESCRIPTORS):
                with suppress(OSError), _borrowed(int(name)) as connection:
                    self._fds[client_of(connection)] = int(name)
        now = time.monotonic()
        self._search_at = now + PAUSE_RATIO * (now - begun)


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """A socket object for a descriptor that another owner closes. Raises OSError if it is no socket's."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        yield connection
    finally:
        connection.detach()
