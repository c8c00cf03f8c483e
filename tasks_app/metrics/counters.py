"""Counters that survive: rows of the database, changed in the transaction of the move that they count.

A counter is named by its series: `"received|echo"`, parts joined by `|` (a handler's name has none). Its value is an
integer; durations are counted in microseconds, so that sums stay exact.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache

from django.db import DEFAULT_DB_ALIAS, connection, connections

#: Upper bounds of the histograms' buckets, in seconds; above the last is +Inf.
BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip

#: Rows that one series may be spread over on a server, where a shared row makes its writers wait for each other's
#: commit. A fixed number of them needs no folding when a writer is gone.
SLOTS = 32

UPSERT_SQLITE = (
    "INSERT INTO taskdaemon_counter (slot, series, value)"
    " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)"
    " WHERE true ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value"
)
_GROW_SQLITE = "UPDATE taskdaemon_counter SET value = value + ? WHERE id = ? AND series = ? AND slot = 0"
_NUMBERS_SQLITE = (
    "SELECT series, id FROM taskdaemon_counter WHERE slot = 0 AND series IN (SELECT value FROM json_each(?))"
)
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


@lru_cache(maxsize=4096)
def _names(name: str, labels: str) -> tuple[tuple[str, ...], str]:
    buckets = tuple(f"{name}|{labels}|le{index}" for index in range(len(BUCKETS) + 1))
    return buckets, f"{name}|{labels}|us"


def observe(into: MutableMapping[str, int], name: str, labels: str, seconds: float) -> None:
    """Add one observation of a histogram: 1 to its bucket, and its microseconds to the sum."""
    buckets, total = _names(name, labels)
    seconds = max(seconds, 0.0)
    bucket = buckets[bisect_left(BUCKETS, seconds)]
    into[bucket] = into.get(bucket, 0) + 1
    into[total] = into.get(total, 0) + round(seconds * 1e6)


def observe_all(into: MutableMapping[str, int], name: str, labels: str, seconds: Iterable[float]) -> None:
    """The same for several observations of one histogram."""
    buckets, total = _names(name, labels)
    get, micros = into.get, 0
    for each in seconds:
        if each > 0.0:
            bucket = buckets[bisect_left(BUCKETS, each)]
            micros += round(each * 1e6)
        else:
            bucket = buckets[0]
        into[bucket] = get(bucket, 0) + 1
    into[total] = get(total, 0) + micros


def merged(deltas: Mapping[str, int] | Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """One delta a series, in the order in which every writer takes the rows.

    Two writers of one slot that took them in two orders would wait for each other for ever.
    """
    if not isinstance(deltas, Mapping):
        summed: Tally[str] = Tally()
        for series, delta in deltas:
            summed[series] += delta
        deltas = summed
    return sorted((series, delta) for series, delta in deltas.items() if delta)


def add(deltas: Mapping[str, int] | Iterable[tuple[str, int]]) -> None:
    """Add to counters, within the caller's transaction; once in a transaction, or the order above is lost."""
    rows = merged(deltas)
    if not rows:
        return
    here = connections[DEFAULT_DB_ALIAS]
    if here.vendor == "sqlite":
        with here.wrap_database_errors:
            _add_sqlite(here.connection, rows)
        return
    mine = slot()
    with here.cursor() as cursor:
        cursor.executemany(UPSERT, [(mine, series, delta) for series, delta in rows])


#: SQLite's rows by series, as far as they were met: found by number they cost a third.
_numbers: dict[str, int] = {}


def _add_sqlite(raw: sqlite3.Connection, rows: list[tuple[str, int]]) -> None:
    try:
        known = [(delta, _numbers[series], series) for series, delta in rows]
    except KeyError:
        known = []
    if known:
        if raw.executemany(_GROW_SQLITE, known).rowcount == len(rows):
            return
        # Another database than before, or its rows were exchanged.
        raw.executemany(_GROW_SQLITE, [(-delta, number, series) for delta, number, series in known])
    raw.execute(UPSERT_SQLITE, (json.dumps([(0, *row) for row in rows]),))
    names = json.dumps([series for series, _ in rows])
    _numbers.update(raw.execute(_NUMBERS_SQLITE, (names,)))
