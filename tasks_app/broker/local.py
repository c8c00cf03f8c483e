"""The `local` transport: kombu over Unix datagrams, for one machine. It stores nothing and needs no server.

Every node that consumes a queue receives every notification in it. Of the notifications that wait in a node, only the
one with the highest priority is kept for each queue. A notification is lost if no node listens or a buffer is full;
nodes also poll.

URL: `local_url(home)`. Importing this module registers the scheme with kombu. Transport option `max_wait` (seconds,
default none): `drain_events` raises `TimeoutError` after that time at the latest, so that a Celery worker, which asks
for two seconds, notices SIGTERM earlier.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import select
import socket
import stat
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.utils.scheduling import FairCycle

logger = logging.getLogger(__name__)

#: An old name that stays, because DAEMON_BROKER_URL may have it.
SCHEME = "doorbell"
#: The directory with the sockets of all nodes that share a DAEMON_HOME. Other versions use the same one.
DIRECTORY_NAME = "bells"
#: A socket's path has at most 104 bytes on macOS and 108 on Linux, including the final NUL.
MAX_PATH_BYTES, SOCKET_NAME_BYTES = 103, 13
MAX_DATAGRAM_BYTES = 65536
#: A temporary name is older than this only if its owner died between bind and rename.
UNFINISHED_AFTER_SECONDS = 60.0
#: Between two checks that the socket's file still exists. Once it is gone, notifications are lost until the next check.
CHECK_SECONDS = 5.0


def local_url(home: Path) -> str:
    """The broker URL of a DAEMON_HOME."""
    return f"{SCHEME}://{quote(os.path.realpath(home), safe='/')}"


class Channel(virtual.Channel):
    """Sends datagrams to every node; gets what its transport has received."""

    # Otherwise kombu would send messages again, to every node, that this node took and did not acknowledge.
    do_restore = False
    max_priority = 10

    connection: Transport

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        send(self.connection.home, queue, message)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        return self.connection.take(queue)

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> None:
        self.connection.listen(queue)
        super().basic_consume(queue, *args, **kwargs)

    def basic_cancel(self, consumer_tag: str) -> None:
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is not None and queue not in self._active_queues:
            self.connection.ignore(queue)


class Transport(virtual.Transport):
    """Each connection has one listener, opened by its first consumer; a connection that only sends has none."""

    Channel = Channel
    driver_type = driver_name = SCHEME
    connection_errors = (OSError,)
    recoverable_connection_errors = (OSError,)

    cycle: FairCycle

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.home = Path("/", client.virtual_host)
        self._max_wait: float | None = client.transport_options.get("max_wait")
        self._listener: Listener | None = None
        self._check_at = 0.0
        #: The message that waits in each queue.
        self._received: dict[str, dict[str, Any] | None] = {}

    def listen(self, queue: str) -> None:
        """Start to receive this queue. Raises `OSError` if no socket can be bound."""
        if self._listener is None:
            self._listener = Listener(self.home)
            self._check_at = time.monotonic() + CHECK_SECONDS
        self._received.setdefault(queue, None)

    def ignore(self, queue: str) -> None:
        self._received.pop(queue, None)

    def take(self, queue: str) -> dict[str, Any]:
        """Take the message that waits in the queue; raises `Empty`."""
        self.listen(queue)
        message = self._received[queue]
        if message is None:
            raise Empty
        self._received[queue] = None
        return message

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Wait for one notification and deliver it.

        Raises `TimeoutError`, and another `OSError` if the socket's file is gone and cannot be created again.
        """
        waits = [seconds for seconds in (timeout, self._max_wait) if seconds is not None]
        end = time.monotonic() + min(waits) if waits else None
        while True:
            self._collect(0.0)
            try:
                self.cycle.get(self._deliver, timeout=0)
                return
            except Empty:
                pass
            remaining = CHECK_SECONDS if end is None else min(CHECK_SECONDS, end - time.monotonic())
            if remaining <= 0:
                raise TimeoutError
            self._collect(remaining)

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._received.clear()

    def _deliver(self, message: dict[str, Any], queue: str) -> None:
        try:
            super()._deliver(message, queue)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            logger.warning("dropped a message that is not a notification: %s: %s", type(error).__name__, error)

    def _collect(self, timeout: float) -> None:
        """Move received datagrams to the queues. Waits up to `timeout` seconds for the first one."""
        if self._listener is None:
            time.sleep(timeout)
            return
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            self._listener.check()
        if timeout:
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            poll.poll(timeout * 1000)
        for datagram in self._listener.receive():
            queue, message = decode(datagram)
            if message is None:
                logger.warning("dropped a message that is not a notification: %r", datagram[:80])
            elif queue in self._received:
                waiting = self._received[queue]
                if waiting is None or _priority(message) >= _priority(waiting):
                    self._received[queue] = message


def send(home: Path, queue: str, message: dict[str, Any]) -> None:
    """Send to every node of `home`. Removes the sockets of dead nodes.

    Never blocks. Raises `DirectoryRefused` as `check_directory` does.
    """
    directory = socket_directory(home)
    try:
        check_directory(directory)
    except FileNotFoundError:
        return
    datagram = queue.encode() + b"\n" + json.dumps(message, separators=(",", ":")).encode()
    # A new socket for each message: messages that a stopped node has not read count against the send buffer, so a
    # socket that is kept would fill, and then reach no node.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        for path in sockets(directory):
            try:
                out.sendto(datagram, path)
            except ConnectionRefusedError:
                _unlink(path)
            except OSError:  # the node is gone, or its buffer is full: it polls
                pass


def decode(datagram: bytes) -> tuple[str, dict[str, Any] | None]:
    """(queue, message) of a datagram; message is None if kombu could not deliver it."""
    head, _, body = datagram.partition(b"\n")
    try:
        message = json.loads(body)
        queue = head.decode()
        message["properties"]["delivery_tag"]
    except (ValueError, KeyError, TypeError):
        return "", None
    return queue, message


def _priority(message: dict[str, Any]) -> int:
    priority = message["properties"].get("priority")
    return priority if isinstance(priority, int) else 0


class Listener:
    """A Unix datagram socket that receives every notification sent in `home`. For one thread.

    Bound under a random name, removed at the end. The constructor and `check` raise `OSError` if it cannot be bound.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._bind()

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, limit: int = 1000) -> Iterator[bytes]:
        """The datagrams that wait, at most `limit`; never blocks."""
        for _ in range(limit):
            try:
                yield self._socket.recv(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return

    def check(self) -> None:
        """Bind again if the file is gone or replaced. Notifications sent meanwhile are lost."""
        with suppress(OSError):
            file = os.lstat(self.path)
            if (file.st_dev, file.st_ino) == self._inode:
                return
        self.close()
        self._bind()

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
            file = os.lstat(self.path)
        except BaseException:
            self._socket.close()
            raise
        self._inode = (file.st_dev, file.st_ino)
        # Also runs at interpreter exit, so a node that ends without closing leaves no file.
        self._finalizer = weakref.finalize(self, _remove, self._socket, self.path, self._inode, os.getpid())


def _remove(listener: socket.socket, path: Path, inode: tuple[int, int], owner: int) -> None:
    listener.close()
    if os.getpid() != owner:  # a forked child has a copy of the socket; the file is its parent's
        return
    with suppress(OSError):
        file = os.lstat(path)
        if (file.st_dev, file.st_ino) == inode:
            path.unlink()
        if path.parent.name != DIRECTORY_NAME:  # in /tmp: the last node removes the directory
            path.parent.rmdir()


def sweep(directory: Path) -> None:
    """Remove the sockets of dead nodes."""
    for path in sockets(directory):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                _unlink(path)
            except OSError:
                pass
    for unfinished in directory.glob(".*"):
        with suppress(OSError):
            if time.time() - unfinished.lstat().st_mtime > UNFINISHED_AFTER_SECONDS:
                unfinished.unlink()


def _unlink(path: str) -> None:
    """Remove a socket that refused a connection, if it is still there."""
    with suppress(OSError):
        os.unlink(path)


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
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise DirectoryRefused(f"{directory} is not a directory: remove it; nodes keep their sockets there")
    if status.st_uid != os.geteuid():
        raise DirectoryRefused(f"{directory} belongs to user {status.st_uid}, not to this process's ({os.geteuid()})")
    if status.st_mode & 0o077:
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


TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
