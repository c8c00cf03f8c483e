"""Admits new tasks: not while the system stops, not faster than DAEMON_MAX_RATE or the rate of the caller's API key,
not into a full queue."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import OperationalError

from tasks_app.api.errors import QueueFull, Stopping, TooMany
from tasks_app.conf import Environment
from tasks_app.keys.rate import KeyRate, TokenBucket
from tasks_app.metrics.system_reading import MAX_READING_SHARE, MAX_REUSE_SECONDS, READ_TIMEOUT_SECONDS, current_reading
from tasks_app.queue.keys_and_options import KeyReused


def draining(env: Environment) -> bool:
    """True while `manage.py up` stops: a task accepted now would wait for the next start."""
    return os.path.exists(env.draining_file)


token_bucket = TokenBucket()


@dataclass
class Admitted:
    """The tasks that a block may store. `stored`: how many it has stored, at most."""

    stored: int


@contextmanager
def admitted(env: Environment, count: int = 1, rate: KeyRate | None = None) -> Iterator[Admitted]:
    """Admit `count` tasks, which the block stores; see `admit`. Raises Stopping (503) or TooMany (429)."""
    admit(env, count, rate=rate)
    tasks = Admitted(count)
    try:
        yield tasks
    except KeyReused:
        tasks.stored = 0
        raise
    finally:
        backlog.stored(tasks.stored)
        backlog.release(count - tasks.stored)


def admit(env: Environment, count: int = 1, may_query: bool = True, rate: KeyRate | None = None) -> None:
    """Admit `count` tasks. Call `backlog.stored` or `backlog.release` afterwards.

    `may_query` False: use no database. `rate`: of the caller's key. Raises Stopping (503) or TooMany (429).
    """
    if draining(env):
        raise Stopping
    limit = env.max_queue
    if not backlog.reserve(limit, count, may_query):
        room = "" if count == 1 else f", and {count:,} more are too many"
        raise QueueFull(f"the queue is full: at most {limit:,} tasks may wait{room}; retry later")
    # Last, so that only admitted tasks take tokens: the fast path passes what it refuses to the view, which asks again.
    # The key's rate first: a caller that exceeds its own takes nothing from the others.
    if rate is not None and not rate.take(count):
        backlog.release(count)
        raise TooMany(f"too many tasks: at most {rate.rate:g} a second are accepted with this API key; slow down")
    if env.max_rate is not None and not token_bucket.take(env.max_rate, count):
        backlog.release(count)
        if rate is not None:
            rate.release(count)
        raise TooMany(f"too many tasks: at most {env.max_rate:g} a second are accepted; slow down")


# Enforces DAEMON_MAX_QUEUE. Every POST asks, so it must be cheap.

#: Seconds between two readings of the database.
READING_INTERVAL_SECONDS = 1.0


class Backlog:
    """An upper bound of the number of pending tasks: those of the last reading, those that this process has stored
    since that reading began, and those that it has reserved and may store at any moment.

    So one process never exceeds the limit. Thread-safe.
    """

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._counting = threading.Lock()
        self._size: int | None = None  # of the last reading; None before the first
        self._stored = self._reserved = 0
        self._read_due_at = 0.0

    @property
    def due(self) -> bool:
        """True if a reading is due and no thread makes it, or if there has been none."""
        return self._size is None or (time.monotonic() >= self._read_due_at and not self._reading.locked())

    def reserve(self, limit: int, count: int = 1, may_query: bool = True) -> bool:
        """Reserve room for `count` tasks, until `stored` or `release`. False if there is no room.

        Reads the database once a second, or less often if that takes long; with `may_query` False never. Raises
        DatabaseError.
        """
        if may_query:
            self.renew()
        with self._counting:
            if self._size is None:
                return False
            if self._size + self._stored + self._reserved + count > limit:
                return False
            self._reserved += count
            return True

    def renew(self) -> None:
        """Read the database if that is due. Raises DatabaseError.

        One thread reads; the others use the last reading. Before the first reading all wait.
        """
        if time.monotonic() < self._read_due_at:
            return
        first = self._size is None
        if not self._reading.acquire(timeout=READ_TIMEOUT_SECONDS if first else 0.0):
            if first:
                raise OperationalError(f"the database has not answered for {READ_TIMEOUT_SECONDS:g} s")
            return
        try:
            if time.monotonic() < self._read_due_at:
                return
            with self._counting:
                before = self._stored
            reading = current_reading(refresh=True)
            with self._counting:
                # Tasks stored during the reading may be in it or not: count them, at worst twice.
                self._size, self._stored = reading.queue_size, self._stored - before
                pause = max(READING_INTERVAL_SECONDS, min(reading.seconds / MAX_READING_SHARE, MAX_REUSE_SECONDS))
                self._read_due_at = time.monotonic() + pause
        finally:
            self._reading.release()

    def stored(self, count: int = 1) -> None:
        """Reserved tasks are in the database, or may be: the answer to a commit can be lost."""
        with self._counting:
            self._reserved -= count
            self._stored += count

    def release(self, count: int = 1) -> None:
        """Reserved tasks were not sent to the database."""
        with self._counting:
            self._reserved -= count


backlog = Backlog()
