"""Tells whether a reading may lack tasks that this process has committed."""

from __future__ import annotations

import time


class Freshness:
    """The time of the last commit. Thread-safe without a lock: either of two concurrent times will do."""

    def __init__(self) -> None:
        self._changed_at = 0.0

    def changed(self) -> None:
        """Note that tasks were committed. To be called before the client gets its response."""
        self._changed_at = time.monotonic()

    def outdates(self, read_at: float) -> bool:
        """True if a reading that began at `read_at` (monotonic clock) may lack committed tasks."""
        return read_at <= self._changed_at


#: For the tasks that this process commits.
freshness = Freshness()
