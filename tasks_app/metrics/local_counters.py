"""Counts that a process keeps in memory and writes to the database's counters about once a second.

For counts that belong to no task's transaction: notifications, containers, HTTP. A node's heartbeat flushes them, and
the beat of a web process. A killed process loses up to its last second of counts.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

from tasks_app.broker import notification
from tasks_app.queue import counters
from tasks_app.queue.current import store, writing

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
        threads' locks may be held for ever. The parent writes the pending counts."""
        self._sources: list[tuple[Source, dict[str, int]]] = [(source, {}) for source in self._from_zero]
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._pending: defaultdict[str, int] = defaultdict(int)

    def add(self, series: str, count: int = 1) -> None:
        with self._lock:
            self._pending[series] += count

    def observe(self, name: str, labels: str, seconds: float) -> None:
        with self._lock:
            counters.observe(self._pending, name, labels, [seconds])

    def add_source(self, source: Source) -> None:
        """Collect the increments of a source, from its present values on."""
        self._sources.append((source, dict(source())))

    def remove_source(self, source: Source) -> None:
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
                    store().add_counts(deltas)
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
    """The counts of this process's notifier: none in a forked child.

    The series keep these names, since databases have sums of them, to which other versions add beside this one.
    """
    now = notification.stats()
    return {
        "bells|rung": now.sent,
        "bells|merged": now.merged,
        "bells|skipped": now.skipped,
        "bells|dropped": now.dropped,
        "bells_failed": now.failed,
    }


#: The counters of this process.
process = LocalCounters(notifications)

os.register_at_fork(after_in_child=process.reset)
