"""When transactions began and ended, as far as it is known."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

#: SQLite's own clock has milliseconds.
ROUNDING_SECONDS = 0.002


class Sample(NamedTuple):
    """At `at`, every transaction that began before `oldest` had ended. Seconds of the wall clock."""

    oldest: float
    at: float


class Horizon:
    """Bounds for the beginnings and ends of transactions, from samples in the order of time.

    Without samples (None) there is one writer at a time, which reads the clock while it has the lock: then the moments
    that it writes are in the order of the transactions.
    """

    def __init__(self, samples: Sequence[Sample] | None) -> None:
        self._one_writer = samples is None
        self._at = [sample.at for sample in samples or ()]
        self._oldest = list(accumulate((sample.oldest for sample in samples or ()), max))

    def began(self, at: float) -> float:
        """A transaction that was open at `at` began at this moment or later; -inf if nothing is known."""
        if self._one_writer:
            return at
        index = bisect_right(self._at, at) - 1
        return self._oldest[index] if index >= 0 else float("-inf")

    def ended(self, at: float) -> float:
        """A transaction that had begun at `at` had ended by this moment; inf if nothing is known."""
        if self._one_writer:
            return at + ROUNDING_SECONDS
        index = bisect_right(self._oldest, at)
        return self._at[index] if index < len(self._at) else float("inf")
