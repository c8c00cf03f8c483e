"""Bells into Redis, past its client: kombu's message on a connection of kombu's, for a third of the time.

kombu makes a client for each message, which takes a connection from its pool and looks at it; where a process has just
slept, as one does that posts now and then, that is a millisecond between a commit and its bell.
"""

from __future__ import annotations

import uuid
from typing import Any

from kombu.serialization import dumps as serialized
from kombu.utils.json import dumps

from tasks_app.broker.queues import TRANSIENT


class RedisLine:
    """Of one thread. May raise whatever redis raises; then close kombu's connection, and its socket with it."""

    def __init__(self, channel: Any) -> None:
        """`channel`: kombu's, to a Redis."""
        self._channel = channel
        self._connection = channel.pool.get_connection()
        #: By queue and level: the key, and what is pushed, before and after its own tag.
        self._made: dict[tuple[str, int], tuple[str, bytes, bytes]] = {}

    def push(self, queue: str, level: int, message: Any) -> None:
        """Send a message of Celery's (`as_task_v2`), the same one each time. `level`: kombu's, 0 is the first."""
        if (made := self._made.get((queue, level))) is None:
            made = self._made[queue, level] = self._make(queue, level, message)
        key, before, after = made
        connection = self._ready()
        connection.send_command("LPUSH", key, b"%b%b%b" % (before, str(uuid.uuid4()).encode(), after))
        connection.read_response()  # raises what Redis refuses

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue, over all levels."""
        connection = self._ready()
        keys = [self._channel._q_for_pri(queue, level) for level in self._channel.priority_steps]
        connection.send_packed_command(connection.pack_commands([("LLEN", key) for key in keys]))
        return sum(connection.read_response() for _ in keys)

    def forget(self) -> None:
        """Let go of the messages that were made."""
        self._made.clear()

    def _ready(self) -> Any:
        if _over(self._connection):
            self._connection.disconnect()
            self._connection.connect()
        return self._connection

    def _make(self, queue: str, level: int, message: Any) -> tuple[str, bytes, bytes]:
        content_type, encoding, body = serialized(message.body, serializer="json")
        properties = {**message.properties, "delivery_mode": TRANSIENT}
        made = self._channel.prepare_message(body, level, content_type, encoding, message.headers, properties)
        self._channel._inplace_augment_message(made, "", queue)
        before, after = dumps(made).encode().split(made["properties"]["delivery_tag"].encode())
        return self._channel._q_for_pri(queue, level), before, after


def _over(connection: Any) -> bool:
    try:
        return bool(connection.can_read())  # nobody has asked it anything
    except Exception:  # of redis's, which this need not know
        return True
