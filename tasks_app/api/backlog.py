"""Enforces DAEMON_MAX_QUEUE. Every POST asks, so it must be cheap."""

from __future__ import annotations

import threading
import time

from django.db import OperationalError

from tasks_app.metrics.system_reading import (
    MAX_READING_SHARE,
    MAX_REUSE_SECONDS,
    READ_TIMEOUT_SECONDS,
    current_reading,
)

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
