"""Counters in the database, incremented in the transaction of the change that they count.

The name of a counter is its series: parts joined by `|`, as in `"received|echo"` (a handler's name has no `|`). Values
are integers. Durations are in microseconds, so that sums are exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection

from tasks_app.store.counts import Counts
from tasks_app.store.current import store

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
    for each in seconds:
        into[f"{name}|{labels}|le{bisect_left(BUCKETS, each)}"] += 1
        if each > 0.0:
            total += each
    if seconds:
        into[f"{name}|{labels}|us"] += round(total * 1e6)


def add(deltas: Counts) -> None:
    """Increment counters in the caller's transaction. Call once per transaction: two calls can deadlock."""
    store().add_counts(deltas)
