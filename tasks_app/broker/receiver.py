"""Receives the messages of a node's queues: tells which handler has work, or drops a message and says so.

On Redis the messages are read on one of kombu's connections, but without kombu's client and its poller. With these a
message takes twice the processor time, and a node under posts spends a quarter of its own on messages.
"""

from __future__ import annotations

import json
import logging
import select
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tasks_app.broker.queues import NOTIFICATION_TASK

logger = logging.getLogger(__name__)

#: How long Redis waits for a message before it says that there is none, and how much later its answer is overdue.
WAIT_SECONDS, OVERDUE_SECONDS = 1, 5.0
#: How many messages are taken at once from a queue with messages that are no notifications, of any size.
BULK = 100
#: A notification has about 150 bytes.
MAX_BODY_BYTES = 4096
#: Characters of an invalid message that an error text quotes.
MAX_QUOTED_CHARS = 80
#: On Redis the bytes before this tag are the same in all messages of one process about one handler.
TAG = b'"delivery_tag"'
#: How many such beginnings are remembered, and how long each may be.
MAX_KNOWN, MAX_KNOWN_BYTES = 1000, 2000


class NotANotification(ValueError):
    """The message is not a notification. The text says why."""


def handler_of(message: Any) -> str:
    """The handler that a kombu message is about; it may be unknown here.

    Raises `NotANotification`, and nothing else, for any other message. Nothing in the message is executed.
    """
    try:
        task = message.headers.get("task") if isinstance(message.headers, dict) else None
        if task != NOTIFICATION_TASK:
            raise NotANotification(f"it is for the task {_quoted(task)}; the only task is {NOTIFICATION_TASK}")
        if len(message.body) > MAX_BODY_BYTES:
            raise NotANotification(f"it has {len(message.body)} bytes; a notification has at most {MAX_BODY_BYTES}")
        match message.payload:
            case [[str() as handler], *_]:
                return handler
        raise NotANotification("it names no handler")
    except NotANotification:
        raise
    # Broad on purpose: an unknown codec, a refused type, a nesting depth that ends in RecursionError.
    except Exception as error:
        raise NotANotification(f"it cannot be read: {type(error).__name__}: {_quoted(error)}") from error


def _quoted(text: object) -> str:
    return str(text)[:MAX_QUOTED_CHARS]


class Receiver:
    """Receives the messages of a node's queues. For one thread."""

    def __init__(self, notify: Callable[[str], object]) -> None:
        """`notify` gets the handler's name of each notification."""
        self._notify = notify
        #: The handler of each notification from Redis, by the bytes before its tag. To parse a notification takes 0.1
        #: ms of the 3 ms that a single task waits for its start. The bytes after the tag are not read: at worst a node
        #: looks for tasks in vain.
        self._known: dict[bytes, str] = {}

    def take(self, message: Any) -> str | None:
        """The handler that a kombu message is about; None if it is no notification."""
        try:
            handler = handler_of(message)
        except NotANotification as error:
            self.drop(error)
            return None
        self._notify(handler)
        return handler

    def take_items(self, items: Sequence[bytes], channel: Any, accept: Any) -> bool:
        """Take the items of a queue on Redis, which stores any data. True if all were notifications.

        `channel`: kombu's. `accept`: its content types. One line reports all items that are dropped together: there may
        be thousands.
        """
        faults: list[Exception] = []
        for item in items:
            try:
                handler = self._handler_of(item, channel, accept)
            except (NotANotification, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
                faults.append(error)
            else:
                self._notify(handler)
        if faults:
            self.drop(faults[-1], len(faults))
        return not faults

    def _handler_of(self, item: bytes, channel: Any, accept: Any) -> str:
        """The handler that an item on Redis is about. Raises an error of the above if it is no notification."""
        start = item.rpartition(TAG)[0]
        if (handler := self._known.get(start)) is None:
            handler = handler_of(channel.Message(json.loads(item), channel=channel, accept=accept))
            if 0 < len(start) <= MAX_KNOWN_BYTES:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[start] = handler
        return handler

    def drop(self, error: Exception, count: int = 1) -> None:
        """Say that so many messages are dropped, and why the last one is."""
        what = str(error) if isinstance(error, NotANotification) else f"{type(error).__name__}: {error}"
        dropped = (
            "a message that is not a notification"
            if count == 1
            else f"{count} messages that are not notifications, of which the last one is told"
        )
        logger.warning("dropped %s: %s", dropped, " ".join(what.split())[:300])


class RedisPull:
    """Takes the messages of some queues, one after the other, and of each queue the most urgent first.

    For the thread of one event loop. May raise any error of redis; then close kombu's connection.
    """

    def __init__(
        self, channel: Any, queues: Iterable[str], receive: Callable[[list[bytes]], bool], ready: Callable[[], None]
    ) -> None:
        """`channel`: kombu's, connected to a Redis. `receive` gets the items of the queues, which may be any data, and
        returns whether all were notifications.

        `ready`: called once Redis has answered: it may accept a connection and then let it receive nothing.
        """
        self._receive, self._ready, self._channel = receive, ready, channel
        self._connection = channel.pool.get_connection()
        #: For each queue its keys, the most urgent first. The queue that was served last is the last one.
        self._keys: dict[str, list[str]] = {}
        self._queue_of: dict[bytes, str] = {}
        self.serve(queues)
        #: The key that had a message from another program: there may be many, and all notifications wait behind them.
        self._foreign_in: bytes | None = None
        self._has_bulk, self._refused = True, channel.ResponseError
        self._asked_at = 0.0
        self._is_ready = False

    def serve(self, queues: Iterable[str]) -> None:
        """Take the messages of these queues from the next question on, which comes within a second."""
        levels = self._channel.priority_steps
        self._keys = {name: [self._channel._q_for_pri(name, level) for level in levels] for name in queues}
        self._queue_of = {key.encode(): name for name, keys in self._keys.items() for key in keys}

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
        self._asked_at = time.monotonic()
        if self._foreign_in is not None:
            self._connection.send_command("RPOP", self._foreign_in, BULK)
            return
        # Of all queues the first level, then the second.
        keys = [key for level in zip(*self._keys.values(), strict=True) for key in level]
        self._connection.send_command("BRPOP", *keys, WAIT_SECONDS)

    def _read(self) -> None:
        try:
            answer = self._connection.read_response()
        except self._refused:
            if self._foreign_in is None:
                raise
            self._has_bulk, self._foreign_in = False, None  # a Redis before 6.2
            self._ask()
            return
        if not self._is_ready:
            self._is_ready = True
            self._ready()
        if self._foreign_in is not None:
            if self._receive(answer or []):
                self._foreign_in = None
        elif answer:
            key, item = answer
            queue = self._queue_of.get(key)
            if queue is not None:  # else it is not served any more
                self._keys[queue] = self._keys.pop(queue)
            if not self._receive([item]) and self._has_bulk:
                self._foreign_in = key
        self._ask()
