"""Publishes to Redis on one of kombu's connections, but without kombu's client.

kombu creates a client for each message, which takes a connection from its pool and checks it. After a pause that adds
about a millisecond between a commit and its notification.
"""

from __future__ import annotations

import select
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from kombu.serialization import dumps as serialized
from kombu.utils.json import dumps

from tasks_app.broker.queues import TRANSIENT


class RedisPush:
    """For one thread. May raise any error of redis; then close kombu's connection, and its socket with it."""

    def __init__(self, channel: Any) -> None:
        """`channel`: kombu's, connected to a Redis."""
        self._channel = channel
        self._connection = channel.pool.get_connection()
        #: For each queue and level: the key, and the message before and after its delivery tag.
        self._encoded: dict[tuple[str, int], tuple[str, bytes, bytes]] = {}

    def push(self, queue: str, level: int, message: Any) -> None:
        """Send one of Celery's messages (`as_task_v2`), always the same for a queue. `level`: kombu's, 0 is first."""
        if (encoded := self._encoded.get((queue, level))) is None:
            encoded = self._encoded[queue, level] = self._encode(queue, level, message)
        key, before, after = encoded
        connection = self._ready()
        connection.send_command("LPUSH", key, b"%b%b%b" % (before, str(uuid.uuid4()).encode(), after))
        connection.read_response()  # raises Redis's error replies

    def waiting(self, queue: str) -> int:
        """The number of messages in a queue, over all levels."""
        connection = self._ready()
        keys = [self._channel._q_for_pri(queue, level) for level in self._channel.priority_steps]
        connection.send_packed_command(connection.pack_commands([("LLEN", key) for key in keys]))
        return sum(connection.read_response() for _ in keys)

    def forget(self) -> None:
        """Drop the encoded messages."""
        self._encoded.clear()

    def _ready(self) -> Any:
        if _is_closed(self._connection):
            self._connection.disconnect()
            self._connection.connect()
        return self._connection

    def _encode(self, queue: str, level: int, message: Any) -> tuple[str, bytes, bytes]:
        content_type, encoding, body = serialized(message.body, serializer="json")
        properties = {**message.properties, "delivery_mode": TRANSIENT}
        prepared = self._channel.prepare_message(body, level, content_type, encoding, message.headers, properties)
        self._channel._inplace_augment_message(prepared, "", queue)
        before, after = dumps(prepared).encode().split(prepared["properties"]["delivery_tag"].encode())
        return self._channel._q_for_pri(queue, level), before, after


def _is_closed(connection: Any) -> bool:
    try:
        return bool(connection.can_read())  # no reply is due: readable means closed
    except Exception:  # redis's own types, which this module does not import
        return True


# Receives from Redis on one of kombu's connections, but without kombu's client and its poller. With these a message
# takes twice the processor time, and a node under posts spends a quarter of its own on messages.

#: How long Redis waits for a message before it says that there is none, and how much later its answer is overdue.
WAIT_SECONDS, OVERDUE_SECONDS = 1, 5.0


class RedisPull:
    """Takes the messages of some queues, one after the other, and of each queue the most urgent first.

    For the thread of one event loop. May raise any error of redis; then close kombu's connection.
    """

    def __init__(
        self, channel: Any, queues: Iterable[str], receive: Callable[[bytes], None], ready: Callable[[], None]
    ) -> None:
        """`channel`: kombu's, connected to a Redis. `receive` gets what is in the queues, whatever that is.

        `ready`: called once Redis has answered, since it may accept a connection that it lets receive nothing.
        """
        self._receive, self._ready = receive, ready
        self._connection = channel.pool.get_connection()
        #: For each queue its keys, the most urgent first. The queue that was served last is the last one.
        self._keys = {name: [channel._q_for_pri(name, level) for level in channel.priority_steps] for name in queues}
        self._queue_of = {key.encode(): name for name, keys in self._keys.items() for key in keys}
        self._asked_at = 0.0
        self._is_ready = False

    def start(self, hub: Any) -> None:
        """Ask for the first message, and let the event loop read what comes."""
        self._ask()
        hub.add_reader(self._connection._sock, self._read)

    def check(self) -> None:
        """Raise ConnectionError if an answer is overdue: a half-open connection says nothing by itself."""
        waited = time.monotonic() - self._asked_at
        if waited > WAIT_SECONDS + OVERDUE_SECONDS and not self._has_answer():
            raise ConnectionError(f"no answer for {waited:.0f} seconds")

    def _has_answer(self) -> bool:
        # Not `can_read`: it takes the answer from the socket, so the event loop would never see it.
        poll = select.poll()
        poll.register(self._connection._sock, select.POLLIN)
        return bool(poll.poll(0))

    def _ask(self) -> None:
        # Of all queues the first level, then the second.
        keys = [key for level in zip(*self._keys.values(), strict=True) for key in level]
        self._connection.send_command("BRPOP", *keys, WAIT_SECONDS)
        self._asked_at = time.monotonic()

    def _read(self) -> None:
        answer = self._connection.read_response()
        if not self._is_ready:
            self._is_ready = True
            self._ready()
        if answer:
            key, item = answer
            queue = self._queue_of[key]
            self._keys[queue] = self._keys.pop(queue)
            self._receive(item)
        self._ask()
