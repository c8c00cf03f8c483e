"""Statistics of a few measured numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """The median of n repetitions, and their range."""

    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.n == 1:
            return short(self.median)
        return f"{short(self.median)} ({short(self.low)} - {short(self.high)})"


def summary(values: Sequence[float]) -> Summary:
    """Summarize at least one value."""
    return Summary(statistics.median(values), min(values), max(values), len(values))


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part (0-1] of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * part // 1) - 1)]


def short(value: float) -> str:
    """Three significant digits without an exponent: 12,345, 12.3, 1.23, 0.012."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def lower_bound(values: Sequence[float]) -> float | None:
    """With 95 % confidence the median of what was measured is at least this; None of fewer than 5 values.

    One of the values: as many lie below the median as heads fall in so many throws, whatever the distribution.
    """
    n, below, chance = len(values), 0, 0.5 ** len(values)
    while chance + math.comb(n, below + 1) * 0.5**n <= 0.05:
        below += 1
        chance += math.comb(n, below) * 0.5**n
    return sorted(values)[below] if chance <= 0.05 else None


def drain_rate(stamps: Sequence[float], skipped_part: float = 0.1, end: float | None = None) -> float:
    """Tasks a second, from sorted stamps, until the last one or until `end`.

    The first tenth does not count: workers were still starting.
    """
    skipped = int(len(stamps) * skipped_part)
    return (len(stamps) - 1 - skipped) / ((stamps[-1] if end is None else end) - stamps[skipped])


def inversions(ran: Sequence[tuple[int, int]]) -> float:
    """The percentage of pairs that ran in the wrong order. `ran`: (priority, number) of each task, as they ran.

    The larger priority goes first; of equal ones the smaller number, which was sent first.
    """
    keys = [(-priority, number) for priority, number in ran]
    wrong = sum(later < earlier for index, earlier in enumerate(keys) for later in keys[index + 1 :])
    return 100 * wrong / (len(keys) * (len(keys) - 1) / 2)
