"""Limits the number of open connections, and closes silent ones when there is little room left.

Each connection costs the web server a file descriptor and some kilobytes. One that sends no request is closed after the
timeout for headers; when the server is nearly full, those that have been silent longest are closed sooner, so that
clients without a key cannot lock others out.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from termios import TIOCOUTQ

import structlog

from tasks_app.logs import REMINDER_SECONDS, LogOnce

log = structlog.get_logger(__name__)

#: Silent connections are closed from this share of the limit on.
HIGH_WATER_MARK = 0.75
#: Seconds between two counts of the connections, below and above the high-water mark.
RELAXED_INTERVAL_SECONDS, CROWDED_INTERVAL_SECONDS = 1.0, 0.2
#: Only connections that have been silent for so long are closed.
MIN_SILENCE_SECONDS = 1.0
#: The most connections, if the limit of descriptors allows them, and the descriptors kept for other files and sockets.
MAX_CONNECTIONS, RESERVED_DESCRIPTORS = 8192, 256
#: A search for new sockets asks each descriptor. Between two of them: so many times as long as one takes.
PAUSE_RATIO = 20.0

_DESCRIPTORS = "/proc/self/fd"
#: Two fields of Linux's tcp_info: milliseconds since data was last sent, and since data was last received.
_TCP_INFO = struct.Struct("=44xI4xI")


class ConnectionLimit:
    """Limits the connections to `port` of this process. `busy` returns the clients (`address:port`) with a request."""

    def __init__(self, port: int, busy: Callable[[], set[str]]) -> None:
        self._port, self._busy = port, busy
        self._high_water = int(connection_limit() * HIGH_WATER_MARK)
        self._log_once = LogOnce(REMINDER_SECONDS)

    def start(self) -> None:
        """Start the thread that watches. Only Linux tells how long a connection has been silent."""
        if os.path.isdir(_DESCRIPTORS):
            threading.Thread(target=self._watch, name="connections", daemon=True).start()

    def _watch(self) -> None:
        while True:
            crowded = False
            try:
                if len(os.listdir(_DESCRIPTORS)) > self._high_water:
                    crowded = self._close_silent()
            except OSError as error:
                if self._log_once.is_due(str(error)):
                    log.warning("connections cannot be counted", error=str(error))
            time.sleep(CROWDED_INTERVAL_SECONDS if crowded else RELAXED_INTERVAL_SECONDS)

    def _close_silent(self) -> bool:
        """Close silent connections, longest silence first, down to the high-water mark. False if already below it."""
        busy = self._busy()
        known = list(self._silences(busy))
        if (excess := len(known) - self._high_water) <= 0:
            return False
        silent = sorted((pair for pair in known if pair[0] >= MIN_SILENCE_SECONDS), reverse=True)
        busy = self._busy()
        for _, fd in silent[:excess]:
            # Checked again: the descriptor may be another connection's by now, or a request may have come.
            with suppress(OSError), self._connection(fd) as connection:
                if self._silence(connection, busy) >= MIN_SILENCE_SECONDS:
                    # The server then reads an end of file, as from a client that closed the connection.
                    connection.shutdown(socket.SHUT_RD)
        return True

    def _silences(self, busy: set[str]) -> Iterator[tuple[float, int]]:
        """The seconds of silence and the descriptor of each connection to the port."""
        for name in os.listdir(_DESCRIPTORS):
            with suppress(OSError), self._connection(int(name)) as connection:  # a file or the listener
                address = connection.getsockname()
                if isinstance(address, tuple) and address[1] == self._port:  # not a socket pair of the event loop
                    yield self._silence(connection, busy), int(name)

    @staticmethod
    def _connection(fd: int) -> socket.socket:
        """A duplicate of a socket. Raises OSError for a file.

        No duplicate of a file is ever closed: that would release the locks that SQLite has on its file (POSIX), and
        another process could then remove its log.
        """
        if not os.readlink(f"{_DESCRIPTORS}/{fd}").startswith("socket:"):
            raise OSError("not a socket")
        # If the descriptor has become a file's since, the duplicate stays open.
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=os.dup(fd))

    @staticmethod
    def _silence(connection: socket.socket, busy: set[str]) -> float:
        """Seconds since either side sent something; 0 if the server owes the client something. Raises OSError."""
        client = client_of(connection)
        if "%" in client or client in busy:
            return 0.0
        if unread_bytes(connection):
            return 0.0  # the client has not read all of an answer
        sent: int
        received: int
        sent, received = _TCP_INFO.unpack(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
        return min(sent, received) / 1000


def connection_limit() -> int:
    """The number of connections that this process may have, by its limit of file descriptors.

    Raises the soft limit if it can.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MAX_CONNECTIONS + RESERVED_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        soft = needed
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(min(MAX_CONNECTIONS, soft - RESERVED_DESCRIPTORS), RESERVED_DESCRIPTORS // 2)


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
    """Finds sockets by their clients, and how much of what was sent a client has not read.

    Of one thread. Without /proc every client counts as one that reads.
    """

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
