"""What a process counts in its memory, and how it reaches the counters: as deltas, about once a second.

For what belongs to no task's transaction: bells, containers, HTTP. A node's heartbeat flushes it, a web process has a
thread for that (`flusher`). A process that is killed takes up to its last second of these counts with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping

from tasks_app.broker import bell
from tasks_app.metrics import counters
from tasks_app.write_lock import writing

#: Counts since some beginning, by series; they only grow.
Source = Callable[[], Mapping[str, int]]


class Tally:
    """Counts that wait to be written. Every method may be called from any thread; only `flush` waits for anything."""

    def __init__(self) -> None:
        self._sources: list[tuple[Source, dict[str, int]]] = []
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._waiting: dict[str, int] = {}

    def add(self, series: str, count: int = 1) -> None:
        """Count."""
        with self._lock:
            self._waiting[series] = self._waiting.get(series, 0) + count

    def observe(self, name: str, labels: str, seconds: float) -> None:
        """Add an observation to a histogram."""
        with self._lock:
            counters.observe(self._waiting, name, labels, seconds)

    def source(self, source: Source) -> None:
        """Take counts from something that counts already, from its present values on."""
        self._sources.append((source, dict(source())))

    def forget(self, source: Source) -> None:
        """Take no more from it."""
        self._sources = [known for known in self._sources if known[0] != source]

    def flush(self) -> bool:
        """Write what waits, in one transaction; False when there was nothing.

        Raises DatabaseError: then it waits on.
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
                        self._waiting[series] = self._waiting.get(series, 0) + delta
                raise
            return True

    def _take(self) -> dict[str, int]:
        with self._lock:
            deltas, self._waiting = self._waiting, {}
        for source, seen in list(self._sources):
            for series, value in source().items():
                if grown := value - seen.get(series, 0):
                    deltas[series] = deltas.get(series, 0) + grown
                    seen[series] = value
        return deltas

    def after_fork(self) -> None:
        """A child counts from nothing: what waits in the parent is the parent's to write."""
        self._reset()
        self._sources = [(source, dict(source())) for source, _ in self._sources]


def bells() -> dict[str, int]:
    """What this process's ringer has done."""
    now = bell.stats()
    return {
        "bells|rung": now.rung,
        "bells|merged": now.merged,
        "bells|skipped": now.skipped,
        "bells|dropped": now.dropped,
        "bells_failed": now.failed,
    }


#: This process's own.
process = Tally()
process.source(bells)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process.after_fork)
