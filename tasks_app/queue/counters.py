"""Counters in the database, incremented (`Store.add_counts`) in the transaction of the change that they count.

The name of a counter is its series: parts joined by `|`, as in `"received|echo"` (a handler's name has no `|`). Values
are integers. Durations are in microseconds, so that sums are exact.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection

#: Upper bounds of the histograms' buckets, in seconds. A bucket for +Inf follows.
BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip


def observe(into: defaultdict[str, int], name: str, labels: str, seconds: Collection[float]) -> None:
    """Add observations to a histogram: 1 to the bucket of each, and the microseconds of all to the sum.

    A negative one counts as 0.
    """
    total = 0.0
    for value in seconds:
        into[f"{name}|{labels}|le{bisect_left(BUCKETS, value)}"] += 1
        if value > 0.0:
            total += value
    if seconds:
        into[f"{name}|{labels}|us"] += round(total * 1e6)


# Detects steps of this machine's wall clock: a wait that spans one must not be counted.

#: The wall clock has stepped if it gained or lost more than this on the monotonic clock between two checks.
STEP_THRESHOLD_SECONDS = 0.5


class ClockSteps:
    """Compares the wall clock with the monotonic clock at each `check`. Thread-safe."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._lock = threading.Lock()
        self._checked_at = monotonic()
        self._offset = wall() - self._checked_at
        self._step: tuple[float, float] | None = None

    def check(self) -> None:
        """Record a step since the last check. Call before counting waits."""
        with self._lock:
            now = self._monotonic()
            offset = self._wall() - now
            if abs(offset - self._offset) > STEP_THRESHOLD_SECONDS:
                self._step = self._checked_at, now
            self._checked_at, self._offset = now, offset

    def affects(self, wait: float, claimed_at: float | None) -> bool:
        """True if a step may lie in a wait of wall-clock seconds that ended at `claimed_at` (monotonic clock)."""
        if (step := self._step) is None or claimed_at is None:
            return False
        before, detected_at = step
        return claimed_at >= before and wait > claimed_at - detected_at


#: Of this process.
clock_steps = ClockSteps()


# Tells whether a reading may lack tasks that this process has committed.


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
