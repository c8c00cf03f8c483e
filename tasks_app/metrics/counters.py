"""Counters that survive: rows of the database, changed in the transaction of the move that they count.

A counter is named by its series: `"received|echo"`, parts joined by `|` (a handler's name has none). Its value is an
integer; durations are counted in microseconds, so that sums stay exact.
"""

from __future__ import annotations

import random
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Mapping

from django.db import connection
from django.db.models import Sum

from tasks_app.models import Counter

#: Upper bounds of the histograms' buckets, in seconds; above the last is +Inf.
BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip

#: Rows that one series may be spread over on a server, where a shared row makes its writers wait for each other's
#: commit. A fixed number of them needs no folding when a writer is gone.
SLOTS = 32

UPSERT = (
    "INSERT INTO taskdaemon_counter (slot, series, value) VALUES (%s, %s, %s)"
    " ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value"
)


class _Slot(threading.local):
    def __init__(self) -> None:
        self.number = random.randrange(1, SLOTS + 1)


_slot = _Slot()


def slot() -> int:
    """The part of each counter that this thread writes. SQLite has one writer at a time, and one part."""
    return 0 if connection.vendor == "sqlite" else _slot.number


def observed(name: str, labels: str, seconds: float) -> list[tuple[str, int]]:
    """What one observation of a histogram adds: its bucket, and its microseconds to the sum."""
    seconds = max(seconds, 0.0)
    return [(f"{name}|{labels}|le{bisect_left(BUCKETS, seconds)}", 1), (f"{name}|{labels}|us", round(seconds * 1e6))]


def add(deltas: Iterable[tuple[str, int]]) -> None:
    """Add to counters, within the caller's transaction."""
    merged: Tally[str] = Tally()
    for series, delta in deltas:
        merged[series] += delta
    # Sorted: two writers of one slot that took the rows in two orders would wait for each other for ever.
    rows = [(slot(), series, delta) for series, delta in sorted(merged.items()) if delta]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.executemany(UPSERT, rows)


def totals() -> Mapping[str, int]:
    """Every counter's value."""
    return dict(Counter.objects.values_list("series").annotate(Sum("value")))
