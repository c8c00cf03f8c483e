"""Publishes to Redis on one of kombu's connections, but without kombu's client.

kombu creates a client for each message, which takes a connection from its pool and checks it. After a pause that adds
about a millisecond between a commit and its notification.
"""

from __future__ import annotations

import uuid
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
