"""The connection that bells leave by. Of one thread; each call is bounded by the broker's socket timeouts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu import Connection, Producer

from tasks_app.broker.message import TASK
from tasks_app.broker.queues import LONGEST_ON_REDIS, TRANSIENT, bell_priority, queue_name
from tasks_app.broker.redis_line import RedisLine

# Seconds; only AMQP has it. A broker that is frozen behind a living socket is noticed after two of them.
HEARTBEAT = 10.0
# Handlers that are remembered. A task's type is any name that a caller makes up, so they have no end.
KNOWN = 1000


Deployment = str | Callable[[], str]


# In a forked child these are the parent's and must never be collected: py-amqp would shut the shared sockets.
_open: set[Connection] = set()


class NotConfigured(RuntimeError):
    """Nobody has said whose nodes to ring."""


class BrokerBlocked(ConnectionError):
    """RabbitMQ takes no messages now (memory or disk alarm)."""


class Publisher:
    """Connects at the first bell, and again at the next one after a fault.

    Every method may raise whatever kombu, redis and py-amqp raise; then call `close` and try again later. After
    `BrokerBlocked` try again later without closing.
    """

    def __init__(self, deployment: Deployment | None, app: Celery | None) -> None:
        self.serves = (deployment, app)
        self._deployment = ""
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._line: RedisLine | None = None
        self._blocked = False
        #: By handler, what a bell says: it is the same each time, and costs more to make than to send.
        self._bells: dict[str, Any] = {}
        #: By queue, how many more bells go into it before it is looked at again.
        self._room: dict[str, int] = {}

    def send(self, handler: str, priority: int | None) -> bool:
        """Ring once. False if enough bells of this handler wait already (on Redis, which keeps all it is given).

        Raises `NotConfigured`, and whatever the deployment's callable raises, before anything is sent.
        """
        deployment, app = self.serves
        if deployment is None or app is None:
            raise NotConfigured("bell.configure() was not called")
        if not self._deployment:
            self._deployment = deployment() if callable(deployment) else deployment
        producer = self._producer or self._connect(app)
        queue = queue_name(self._deployment, handler)
        transport = str(self._transport.driver_type)
        if self._line is not None and not self._has_room(self._line, queue):
            return False
        if transport == "amqp":
            self._hear_broker()
        if (message := self._bells.get(handler)) is None:
            if len(self._bells) >= KNOWN:
                self._bells.clear()
                if self._line is not None:
                    self._line.forget()
            message = app.amqp.as_task_v2(str(uuid.uuid4()), TASK, args=[handler], ignore_result=True)
            self._bells[handler] = message
        level = bell_priority(priority, transport)
        if self._line is not None:
            self._line.push(queue, level, message)
            return True
        # By the nameless exchange straight to the queue, and nothing is declared: a queue that does not exist
        # has no node that listens. No Celery `expires`: it compares two machines' clocks.
        producer.publish(
            message.body,
            exchange="",
            routing_key=queue,
            headers=message.headers,
            serializer="json",
            priority=level,
            delivery_mode=TRANSIENT,
            retry=False,
            **message.properties,
        )
        return True

    def _has_room(self, line: RedisLine, queue: str) -> bool:
        # A look costs as much as a bell, so only one in ten bells waits for it. Where nobody hears them, each of
        # several processes may put that many there.
        room = self._room.get(queue, 0)
        if len(self._room) >= KNOWN:
            self._room.clear()
        if room <= 0:
            room = LONGEST_ON_REDIS - line.waiting(queue)
        self._room[queue] = room - 1
        return room > 0

    def keep_alive(self) -> None:
        """To be called every few seconds while there is nothing to send, so that a dead broker is noticed."""
        if self._connection is not None and self._transport.implements.heartbeats:
            self._hear_broker()

    def close(self) -> None:
        """Let go of the sockets without a word to the broker, which may be hung. Never raises."""
        connection, self._connection = self._connection, None
        self._producer, self._line, self._blocked = None, None, False
        if connection is not None:
            _open.discard(connection)
            # kombu leaves its epoll to the garbage collector, and a broker that is away is tried often.
            poller = getattr(getattr(connection._transport, "cycle", None), "poller", None)
            with suppress(Exception):
                connection.collect()
            if poller is not None:
                with suppress(Exception):
                    poller.close()

    @property
    def _transport(self) -> Any:
        assert self._connection is not None
        return self._connection.transport

    def _connect(self, app: Celery) -> Producer:
        connection = self._connection = app.connection_for_write(heartbeat=HEARTBEAT)
        _open.add(connection)
        if self._transport.driver_type == "amqp":
            connection.transport_options = {
                **connection.transport_options,
                "on_blocked": self._block,
                "on_unblocked": self._unblock,
            }
        connection.ensure_connection(max_retries=0)  # kombu's own `connect` sleeps 2 s and tries again
        channel = connection.channel()
        if self._transport.driver_type == "redis":
            self._line = RedisLine(channel)
        self._producer = Producer(channel, auto_declare=False)
        return self._producer

    def _hear_broker(self) -> None:
        """Read what RabbitMQ has said; raises `BrokerBlocked` while its alarm lasts, `OSError` if it is gone."""
        assert self._connection is not None
        try:
            while True:
                self._connection.drain_events(timeout=0)
        except TimeoutError:
            pass
        self._connection.heartbeat_check()
        if self._blocked:
            raise BrokerBlocked("the broker takes no messages now: memory or disk alarm")

    def _block(self, reason: str) -> None:
        self._blocked = True

    def _unblock(self) -> None:
        self._blocked = False
