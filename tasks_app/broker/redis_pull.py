"""Receives from Redis on one of kombu's connections, but without kombu's client and its poller.

With these a message takes twice the processor time, and a node under posts spends a quarter of its own on messages.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable
from typing import Any

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
