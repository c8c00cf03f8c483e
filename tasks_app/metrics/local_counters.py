"""Counts that a process keeps in memory and writes to the database's counters about once a second.

For counts that belong to no task's transaction: notifications, containers, HTTP. A node's heartbeat flushes them, in a
web process a thread does (`Flusher`). A killed process loses up to its last second of counts.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import util

from django.db import Error, connection

from tasks_app.broker import notification
from tasks_app.queue import counters
from tasks_app.queue.current import store, writing
from tasks_app.runner.backoff import Backoff

logger = logging.getLogger(__name__)

#: Counts since some moment, by series. They never decrease.
Source = Callable[[], Mapping[str, int]]


class LocalCounters:
    """Counts that wait to be written. Thread-safe; only `flush` blocks."""

    def __init__(self, *sources: Source) -> None:
        """`sources` are collected from the beginning. In a forked child they count from zero."""
        self._from_zero = sources
        self.reset()

    def reset(self) -> None:
        """Forget all counts, and the sources that were added. Takes no lock: for a forked child, in which other
        threads' locks may be held for ever. The parent writes what was pending."""
        self._sources: list[tuple[Source, dict[str, int]]] = [(source, {}) for source in self._from_zero]
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._pending: defaultdict[str, int] = defaultdict(int)

    def add(self, series: str, count: int = 1) -> None:
        """Increment a series."""
        with self._lock:
            self._pending[series] += count

    def observe(self, name: str, labels: str, seconds: float) -> None:
        """Add an observation to a histogram."""
        with self._lock:
            counters.observe(self._pending, name, labels, [seconds])

    def add_source(self, source: Source) -> None:
        """Collect the increments of a source, from its present values on."""
        self._sources.append((source, dict(source())))

    def remove_source(self, source: Source) -> None:
        """Stop collecting from a source."""
        self._sources = [known for known in self._sources if known[0] != source]

    def flush(self) -> bool:
        """Write all counts in one transaction. False if there were none.

        Raises DatabaseError and keeps the counts.
        """
        with self._flushing:
            deltas = self._take()
            if not deltas:
                return False
            try:
                with writing():
                    counters.add(deltas)
            except BaseException:
                with self._lock:
                    for series, delta in deltas.items():
                        self._pending[series] += delta
                raise
            return True

    def _take(self) -> dict[str, int]:
        with self._lock:
            deltas, self._pending = self._pending, defaultdict(int)
        for source, seen in list(self._sources):
            for series, value in source().items():
                if grown := value - seen.get(series, 0):
                    deltas[series] += grown
                    seen[series] = value
        return deltas


def notifications() -> dict[str, int]:
    """The counts of this process's notifier: none in a forked child."""
    now = notification.stats()
    return {
        "bells|rung": now.sent,
        "bells|merged": now.merged,
        "bells|skipped": now.skipped,
        "bells|dropped": now.dropped,
        "bells_failed": now.failed,
    }


#: Of this process.
process = LocalCounters(notifications)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process.reset)


FLUSH_INTERVAL_SECONDS = 1.0
#: The longest pause between two attempts while the database cannot be written.
MAX_BACKOFF_SECONDS = 5.0
#: How long the end of a process waits for its last flush.
CLOSE_TIMEOUT_SECONDS = 3.0


class Flusher:
    """A thread that writes the counters of a web process by a connection of its own, so that no request has to."""

    def __init__(
        self,
        counters: LocalCounters,
        every: float = FLUSH_INTERVAL_SECONDS,
        also: Sequence[Callable[[], None]] = (),
        last: Callable[[], None] = lambda: None,
    ) -> None:
        """`also` are called after each flush. They keep what they cannot write. `last` is called after the last one."""
        self._counters, self._every, self._also, self._last = counters, every, also, last
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Flush once more and end the thread. Takes at most CLOSE_TIMEOUT_SECONDS."""
        self._stop.set()
        self._thread.join(CLOSE_TIMEOUT_SECONDS)

    def _run(self) -> None:
        backoff = Backoff(2 * self._every, MAX_BACKOFF_SECONDS)
        try:
            stopping = False
            while not stopping:
                stopping = self._stop.wait(backoff.pause or self._every)
                try:
                    self._counters.flush()
                    store().maintain(ending=stopping)
                    for write in self._also:
                        write()
                    if stopping:
                        self._last()
                    backoff.succeeded()
                except Error as error:
                    if not backoff.failures:
                        logger.warning("cannot write the counts of this process; they are kept: %s", error)
                    backoff.failed()
                    connection.close()
        finally:
            connection.close()


def start(*also: Callable[[], None], last: Callable[[], None] = lambda: None) -> None:
    """Flush this process's counters from now on, and at its end. Call once, in a process that serves requests."""
    flusher = Flusher(process, also=also, last=last)
    flusher.start()
    # A forked child ends through multiprocessing's finalizers, a plain process through atexit. `close` is idempotent.
    util.Finalize(None, flusher.close, exitpriority=10)
    atexit.register(flusher.close)
