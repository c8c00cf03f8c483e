"""Counters in the database, incremented in the transaction of the change that they count.

The name of a counter is its series: parts joined by `|`, as in `"received|echo"` (a handler's name has no `|`). Values
are integers. Durations are in microseconds, so that sums are exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

from tasks_app.store.counts import Counts
from tasks_app.store.current import store

#: Upper bounds of the histograms' buckets, in seconds. A bucket for +Inf follows.
BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip


def observe(into: defaultdict[str, int], name: str, labels: str, seconds: Iterable[float]) -> None:
    """Add observations to a histogram: 1 to the bucket of each, and the microseconds of all to the sum."""
    buckets: defaultdict[int, int] = defaultdict(int)
    total = 0
    for each in seconds:
        each = max(each, 0.0)
        buckets[bisect_left(BUCKETS, each)] += 1
        total += round(each * 1e6)
    for bucket, number in buckets.items():
        into[f"{name}|{labels}|le{bucket}"] += number
    if buckets:
        into[f"{name}|{labels}|us"] += total


def add(deltas: Counts) -> None:
    """Increment counters in the caller's transaction. Call once per transaction: two calls can deadlock."""
    store().add_counts(deltas)
