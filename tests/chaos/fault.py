"""A fault, and one throw of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Throw:
    """One throw of one fault: its chance, and how to wait in it (less long once the storm is over)."""

    chance: random.Random
    hold: Callable[[float], None]
    longest: float

    def wait(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait for it, at most so long."""
        until = time.monotonic() + seconds
        while not true() and time.monotonic() < until:
            time.sleep(0.05)

    def between(self, low: float, high: float) -> float:
        """Seconds, never more than the longest that is wanted."""
        return min(self.chance.uniform(low, high), self.longest)


@dataclass(frozen=True)
class Fault:
    """`victim`: what is hurt; two faults never hurt the same thing at once. `throw` heals it too, and tells of it."""

    name: str
    victim: str
    throw: Callable[[Throw], str]
