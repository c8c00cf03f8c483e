"""A fault, and one injection of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Throw:
    """One injection of a fault. `hold` sleeps, but not beyond the end of the storm: then it returns True."""

    chance: random.Random
    hold: Callable[[float], bool]
    longest: float

    def wait(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait until `true`, for at most `seconds`."""
        until = time.monotonic() + seconds
        while not true() and time.monotonic() < until:
            time.sleep(0.05)

    def between(self, low: float, high: float) -> float:
        """A random number of seconds, at most `longest`."""
        return min(self.chance.uniform(low, high), self.longest)


@dataclass(frozen=True)
class Fault:
    """`victim`: what it hits; two faults never hit the same victim at once. `throw` also heals it, and describes it."""

    name: str
    victim: str
    throw: Callable[[Throw], str]
