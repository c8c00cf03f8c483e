"""Detects steps of this machine's wall clock: a wait that spans one must not be counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

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
