"""The publisher: one thread's connection to the broker. The broker's socket timeouts bound each call."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu import Connection, Producer
from kombu.serialization import dumps as serialized
from kombu.utils.json import dumps

from tasks_app.broker.queues import (
    MAX_QUEUE_LENGTH_ON_REDIS,
    MAX_QUEUE_PRIORITY,
    NOTIFICATION_TASK,
    TRANSIENT,
    queue_name,
)

Deployment = str | Callable[[], str]

#: AMQP only. Two missed heartbeats reveal a broker that is frozen behind an open socket.
HEARTBEAT_SECONDS = 10.0
#: Types are also those of tasks that other programs have stored: an unlimited cache would grow without end.
MAX_CACHED_HANDLERS = 1000
#: In a forked child these connections are the parent's and must never be collected: py-amqp would shut down the shared
#: sockets.
_open_connections: set[Connection] = set()


class BrokerBlocked(ConnectionError):
    """RabbitMQ accepts no messages now (memory or disk alarm)."""


class Publisher:
    """Connects at the first notification, and again at the next one after an error.

    Every method may raise any error of kombu, redis and py-amqp; the caller then calls `close` and tries again later.
    After `BrokerBlocked` it tries again without closing.
    """

    def __init__(self, deployment: Deployment | None, app: Celery | Callable[[], Celery] | None) -> None:
        self.target = (deployment, app)
        self._deployment = ""
        self._app: Celery | None = None
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._redis: RedisPush | None = None
        self._blocked = False
        #: Kombu's driver type of the connection.
        self._transport = ""
        #: The queue and the message for each handler: it never changes, and building it costs more than sending it.
        self._messages: dict[str, tuple[str, Any]] = {}
        #: How many more notifications go into each queue before its length is read again.
        self._room: dict[str, int] = {}

    def send(self, handler: str, priority: int) -> bool:
        """Publish one notification. False if enough for this handler wait already (Redis only: it has no limit).

        Raises any error of the deployment's callable before anything is sent.
        """
        if self._producer is None:
            self.open()
        producer = self._producer
        assert producer is not None
        queue, message = self._messages.get(handler) or self._prepare(handler)
        level = notification_priority(priority, self._transport)
        if self._redis is not None:
            if not self._has_room(self._redis, queue):
                return False
            self._redis.push(queue, level, message)
            return True
        if self._transport == "amqp":
            self._check_broker()
        # The default exchange delivers straight to the queue and nothing is declared: if the queue does not exist, no
        # node consumes it. No Celery `expires`: it compares the clocks of two machines.
        producer.publish(
            message.body, exchange="", routing_key=queue, headers=message.headers, serializer="json", priority=level,
            delivery_mode=TRANSIENT, retry=False, **message.properties,
        )  # fmt: skip
        return True

    def _prepare(self, handler: str) -> tuple[str, Any]:
        assert self._app is not None
        if len(self._messages) >= MAX_CACHED_HANDLERS:
            self._messages.clear()
            if self._redis is not None:
                self._redis.forget()
        message = self._app.amqp.as_task_v2(str(uuid.uuid4()), NOTIFICATION_TASK, args=[handler], ignore_result=True)
        self._messages[handler] = queue_name(self._deployment, handler), message
        return self._messages[handler]

    def _has_room(self, redis: RedisPush, queue: str) -> bool:
        # Reading the length costs as much as a notification, so only one in ten reads it. If no node consumes the
        # queue, each of several processes may add that many.
        room = self._room.get(queue, 0)
        if len(self._room) >= MAX_CACHED_HANDLERS:
            self._room.clear()
        if room <= 0:
            room = MAX_QUEUE_LENGTH_ON_REDIS - redis.waiting(queue)
        self._room[queue] = room - 1
        return room > 0

    def open(self) -> None:
        """Connect, and ask for the deployment's id, before the first notification."""
        deployment, app = self.target
        if deployment is None or app is None:
            raise RuntimeError("notification.configure() was not called")
        if not self._deployment:
            self._deployment = deployment() if callable(deployment) else deployment
        if self._producer is None:
            self._app = app if isinstance(app, Celery) else app()
            self._connect(self._app)

    def keep_alive(self) -> None:
        """Detect a dead broker. Call it every few seconds while there is nothing to send."""
        if self._connection is not None and self._connection.transport.implements.heartbeats:
            self._check_broker()

    def close(self) -> None:
        """Close the sockets without AMQP's closing handshake, since the broker may be hung. Never raises."""
        connection, self._connection = self._connection, None
        self._producer, self._redis, self._blocked = None, None, False
        if connection is not None:
            _open_connections.discard(connection)
            # kombu leaves its epoll to the garbage collector; frequent retries would run out of descriptors.
            poller = getattr(getattr(connection._transport, "cycle", None), "poller", None)
            with suppress(Exception):
                connection.collect()
            if poller is not None:
                with suppress(Exception):
                    poller.close()

    def _connect(self, app: Celery) -> None:
        connection = self._connection = app.connection_for_write(heartbeat=HEARTBEAT_SECONDS)
        _open_connections.add(connection)
        self._transport = str(connection.transport.driver_type)
        if self._transport == "amqp":
            hooks = {"on_blocked": self._block, "on_unblocked": self._unblock}
            connection.transport_options = {**connection.transport_options, **hooks}
        connection.ensure_connection(max_retries=0)  # kombu's own `connect` sleeps 2 s and tries again
        channel = connection.channel()
        if self._transport == "redis":
            self._redis = RedisPush(channel)
        self._producer = Producer(channel, auto_declare=False)

    def _check_broker(self) -> None:
        """Read what RabbitMQ has sent; raises `BrokerBlocked` during its alarm, `OSError` if it is gone."""
        assert self._connection is not None
        try:
            while True:
                self._connection.drain_events(timeout=0)
        except TimeoutError:
            pass
        self._connection.heartbeat_check()
        if self._blocked:
            raise BrokerBlocked("the broker accepts no messages now: memory or disk alarm")

    def _block(self, reason: str) -> None:
        self._blocked = True

    def _unblock(self) -> None:
        self._blocked = False


class RedisPush:
    """Publishes to Redis on one of kombu's connections, but without kombu's client.

    kombu creates a client for each message, which takes a connection from its pool and checks it. After a pause that
    adds about a millisecond between a commit and its notification. For one thread. May raise any error of redis; then
    close kombu's connection, and its socket with it.
    """

    def __init__(self, channel: Any) -> None:
        """`channel`: kombu's, connected to a Redis."""
        self._channel = channel
        self._connection = channel.pool.get_connection()
        #: For each queue and level: the command before and after the message's delivery tag.
        self._encoded: dict[tuple[str, int], tuple[bytes, bytes]] = {}

    def push(self, queue: str, level: int, message: Any) -> None:
        """Send one of Celery's messages (`as_task_v2`), always the same for a queue. `level`: kombu's, 0 is first."""
        if (encoded := self._encoded.get((queue, level))) is None:
            encoded = self._encoded[queue, level] = self._encode(queue, level, message)
        connection = self._ready()
        connection.send_packed_command([str(uuid.uuid4()).encode().join(encoded)])
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

    def _encode(self, queue: str, level: int, message: Any) -> tuple[bytes, bytes]:
        content_type, encoding, body = serialized(message.body, serializer="json")
        properties = {**message.properties, "delivery_mode": TRANSIENT}
        prepared = self._channel.prepare_message(body, level, content_type, encoding, message.headers, properties)
        self._channel._inplace_augment_message(prepared, "", queue)
        command = self._connection.pack_command("LPUSH", self._channel._q_for_pri(queue, level), dumps(prepared))
        before, after = b"".join(command).split(prepared["properties"]["delivery_tag"].encode())
        return before, after


def _is_closed(connection: Any) -> bool:
    try:
        return bool(connection.can_read())  # no reply is due: readable means closed
    except Exception:  # redis's own types, which this module does not import
        return True


def notification_priority(priority: int, transport: str = "amqp") -> int:
    """The broker's priority for a task's priority (0-100, larger is more urgent).

    `transport` is kombu's driver type. RabbitMQ and the local transport use 0-10, larger first; kombu's Redis uses 0-9,
    0 first.
    """
    level = max(0, min(MAX_QUEUE_PRIORITY, round(priority / 10)))
    return 9 - min(9, level) if transport == "redis" else level
