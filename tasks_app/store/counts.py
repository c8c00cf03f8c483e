"""Increments of counters, as every store writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

#: By series; an iterable may name a series more than once.
Counts = Mapping[str, int] | Iterable[tuple[str, int]]


def merged(deltas: Counts) -> list[tuple[str, int]]:
    """The nonzero sum of each series, in the order in which every writer locks the rows, which avoids deadlocks."""
    if not isinstance(deltas, Mapping):
        summed: Counter[str] = Counter()
        for series, delta in deltas:
            summed[series] += delta
        deltas = summed
    return sorted((series, delta) for series, delta in deltas.items() if delta)
