"""The broker for one machine: a kombu transport over Unix datagrams. Nothing is stored, no server runs.

Every node that consumes a queue hears every bell of it, and bells that wait in one node merge to one a queue, that
of the highest priority. A bell that finds nobody at home, or a full buffer, is lost: nodes poll besides.

URL: `doorbell_url(home)`. Importing this module registers the scheme `doorbell` with kombu. Transport option:
`patience` (seconds, default none): `drain_events` raises `TimeoutError` after at most that, so that a Celery
worker, which asks for two seconds, sees its SIGTERM sooner. In the main thread it does so at a signal, and else sleeps
for longer.
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

from tasks_app.broker.bell_directory import bell_directory, check_directory, sockets
from tasks_app.broker.ear import Ear, remove_dead
from tasks_app.broker.signal_pipe import SignalPipe

logger = logging.getLogger(__name__)

SCHEME = "doorbell"
# Seconds between looks whether our file is there. Bells are lost without it, and tasks found by polling.
CHECK_EVERY = 5.0


def doorbell_url(home: Path) -> str:
    """The broker URL of a DAEMON_HOME."""
    return f"{SCHEME}://{quote(os.path.realpath(home), safe='/')}"


class Channel(virtual.Channel):
    """Puts datagrams to every node; gets what its transport's ear has heard."""

    # Restoring would ring again, to every node, bells that this node has taken.
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
    """One ear a connection, opened by its first consumer; a connection that only sends has no socket."""

    Channel = Channel
    driver_type = driver_name = SCHEME
    connection_errors = (OSError,)
    recoverable_connection_errors = (OSError,)

    cycle: FairCycle

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.home = Path("/", client.virtual_host)
        self._patience: float | None = client.transport_options.get("patience")
        self._ear: Ear | None = None
        self._signals: SignalPipe | None = None
        #: How many more calls of `drain_events` do not wait.
        self._hurries = 0
        self._check_at = 0.0
        # Queue to the bell that waits in it.
        self._heard: dict[str, dict[str, Any] | None] = {}

    def driver_version(self) -> str:
        return "1"

    def listen(self, queue: str) -> None:
        """Hear this queue's bells from now on. Raises `OSError` if no socket can be bound."""
        if self._ear is None:
            self._ear = Ear(self.home)
            self._signals = SignalPipe.opened()
            self._check_at = time.monotonic() + CHECK_EVERY
        self._heard.setdefault(queue, None)

    def ignore(self, queue: str) -> None:
        self._heard.pop(queue, None)

    def take(self, queue: str) -> dict[str, Any]:
        """The bell that waits in the queue; raises `Empty`."""
        self.listen(queue)
        message = self._heard[queue]
        if message is None:
            raise Empty
        self._heard[queue] = None
        return message

    def waiting(self, queue: str) -> int:
        return int(self._heard.get(queue) is not None)

    def forget(self, queue: str) -> int:
        """Drop the bell that waits; how many did."""
        waited = self.waiting(queue)
        if waited:
            self._heard[queue] = None
        return waited

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver one bell, sleeping in poll until there is one.

        Raises `TimeoutError`, after a signal too; another `OSError` when our file is gone and cannot be bound again.
        The call after the one that a signal ended does not wait either. With `patience`, who is told of signals sleeps
        for longer than a `timeout` that is short: Celery's two seconds are for seeing that it is to end.
        """
        patience = self._patience
        if patience is not None and self._signals is not None:
            patience, timeout = None, max(timeout, CHECK_EVERY) if timeout else timeout
        waits = [seconds for seconds in (timeout, patience) if seconds is not None]
        end = time.monotonic() + min(waits) if waits else None
        while True:
            self._collect(0.0)
            try:
                self.cycle.get(self._deliver, timeout=0)
                return
            except Empty:
                pass
            left = CHECK_EVERY if end is None else min(CHECK_EVERY, end - time.monotonic())
            if left <= 0 or self._hurries:
                self._hurries = max(self._hurries - 1, 0)
                raise TimeoutError
            self._collect(left)

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        if self._signals is not None:
            self._signals.close()
            self._signals = None
        self._heard.clear()

    def _deliver(self, message: dict[str, Any], queue: str) -> None:
        try:
            super()._deliver(message, queue)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            logger.warning("dropped a message that is no bell: %s: %s", type(error).__name__, error)

    def _collect(self, timeout: float) -> None:
        """Move what the ear has heard to the queues, waiting for the first datagram up to `timeout`."""
        if self._ear is None:
            time.sleep(timeout)
            return
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_EVERY
            self._ear.check()
        if timeout:
            poll = select.poll()
            poll.register(self._ear, select.POLLIN)
            if self._signals is not None:
                poll.register(self._signals, select.POLLIN)
            ready = poll.poll(timeout * 1000)
            if self._signals is not None and (self._signals.fileno(), select.POLLIN) in ready:
                self._signals.clear()
                # One for Celery to see that it is to end, and one for the last round that its loop then makes.
                self._hurries = 2
            if not ready:
                return
        for datagram in self._ear.hear():
            queue, message = decode(datagram)
            if message is None:
                logger.warning("dropped a message that is no bell: %r", datagram[:80])
            elif queue in self._heard:
                waiting = self._heard[queue]
                if waiting is None or _priority(message) >= _priority(waiting):
                    self._heard[queue] = message


def send(home: Path, queue: str, message: dict[str, Any]) -> int:
    """Ring at every node of `home`; how many had room for it. Sockets of the dead are removed on the way.

    Never blocks. Raises `DirectoryRefused` if the directory is not ours.
    """
    directory = bell_directory(home)
    try:
        check_directory(directory)
    except FileNotFoundError:
        return 0
    datagram = queue.encode() + b"\n" + json.dumps(message, separators=(",", ":")).encode()
    rung = 0
    # A socket for each bell: what a stopped node has not read counts against the buffer of the socket that sent
    # it. One that is kept would fill, and then reach nobody.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        for path in sockets(directory):
            try:
                out.sendto(datagram, path)
                rung += 1
            except ConnectionRefusedError:
                remove_dead(Path(path))
            except OSError:  # gone meanwhile, or a full buffer: that node polls
                pass
    return rung


def decode(datagram: bytes) -> tuple[str, dict[str, Any] | None]:
    """(queue, message) of a datagram; message is None if it is not one that kombu could deliver."""
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
