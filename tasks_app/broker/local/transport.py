"""The `local` transport: kombu over Unix datagrams, for one machine. It stores nothing and needs no server.

Every node that consumes a queue receives every notification in it. Of the notifications that wait in a node, only the
one with the highest priority is kept for each queue. A notification is lost if no node listens or a buffer is full;
nodes also poll.

URL: `local_url(home)`. Importing this module registers the scheme with kombu. Transport option `max_wait` (seconds,
default none): `drain_events` raises `TimeoutError` after that time at the latest, so that a Celery worker, which asks
for two seconds, notices SIGTERM earlier.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import time
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.utils.scheduling import FairCycle

from tasks_app.broker.local.listener import Listener, check_directory, remove_dead, socket_directory, sockets

logger = logging.getLogger(__name__)

# An old name that stays, because DAEMON_BROKER_URL may have it.
SCHEME = "doorbell"
# Between two checks that the socket's file still exists. Once it is gone, notifications are lost until the next check.
CHECK_SECONDS = 5.0


def local_url(home: Path) -> str:
    """The broker URL of a DAEMON_HOME."""
    return f"{SCHEME}://{quote(os.path.realpath(home), safe='/')}"


class Channel(virtual.Channel):
    """Sends datagrams to every node; gets what its transport has received."""

    # Otherwise kombu would send again, to every node, what this node took and did not acknowledge.
    do_restore = False
    max_priority = 10

    connection: Transport

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        send(self.connection.home, queue, message)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        return self.connection.take(queue)

    def _size(self, queue: str) -> int:
        return self.connection.waiting(queue)

    def _purge(self, queue: str) -> int:
        return self.connection.forget(queue)

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

    def driver_version(self) -> str:
        return "1"

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

    def waiting(self, queue: str) -> int:
        return int(self._received.get(queue) is not None)

    def forget(self, queue: str) -> int:
        """Drop the message that waits. Returns how many did."""
        waited = self.waiting(queue)
        if waited:
            self._received[queue] = None
        return waited

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


def send(home: Path, queue: str, message: dict[str, Any]) -> int:
    """Send to every node of `home`. Returns how many had room for it. Removes the sockets of dead nodes.

    Never blocks. Raises `DirectoryRefused` as `check_directory` does.
    """
    directory = socket_directory(home)
    try:
        check_directory(directory)
    except FileNotFoundError:
        return 0
    datagram = queue.encode() + b"\n" + json.dumps(message, separators=(",", ":")).encode()
    sent = 0
    # A new socket for each message: what a stopped node has not read counts against the send buffer, so a socket that
    # is kept would fill, and then reach no node.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        for path in sockets(directory):
            try:
                out.sendto(datagram, path)
                sent += 1
            except ConnectionRefusedError:
                remove_dead(Path(path))
            except OSError:  # the node is gone, or its buffer is full: it polls
                pass
    return sent


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


TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
