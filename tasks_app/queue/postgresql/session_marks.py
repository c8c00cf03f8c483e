"""The marks of a database session, and the looks that move them.

They belong to a session because what is proven ends with the server's memory: after a crash claims may be undone, after
a restore or a fail-over positions may be given out again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Sequence, Set
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connection

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import Selection
from tasks_app.queue.postgresql.marks import (
    EMPTY,
    MAX_RETURNED,
    PREPARED,
    Horizon,
    Marks,
    Probe,
    Returned,
    Sample,
    ended,
)
from tasks_app.queue.sql import READY

# Which transactions may still write a table, on PostgreSQL.

#: Whoever writes a row of a table holds one of these locks until the end of its transaction. A transaction that is
#: prepared for a two-phase commit keeps its locks, but not the name by which they were listed before.
WRITERS = f"""
SELECT coalesce(json_agg(DISTINCT CASE WHEN pid IS NULL THEN '{PREPARED}' ELSE virtualtransaction END), '[]')::text
FROM pg_locks
WHERE locktype = 'relation' AND relation = '{{table}}'::regclass AND mode IN ('RowShareLock', 'RowExclusiveLock')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: How often, and how many seconds apart, `all_ended` asks.
TRIES, PAUSE = 3, 0.005


@cache
def _statement(table: str) -> str:
    return WRITERS.format(table=table)


def writers(table: str) -> frozenset[str]:
    """The transactions that may have written the table, or be about to."""
    [(found,)] = prepared(_statement(table), ())
    return frozenset(json.loads(found))


def all_ended(before: Set[str], table: str) -> bool:
    """Whether all of these writers have ended. Waits some milliseconds for them."""
    for attempt in range(TRIES):
        if ended(before, writers(table)):
            return True
        if attempt + 1 < TRIES:
            time.sleep(PAUSE)
    return False


#: A session looks once it has claimed so many tasks, since its claims read as many dead entries ...
LOOK_TASKS = 100
#: ... and at most for this share of the time.
MAX_LOOK_SHARE = 0.01
#: A new session looks before each of its first claims, since nothing is proven sooner.
FIRST_LOOKS = 4

#: Spelled as in the conditions of `task_ready_by_priority` and of `task_ready_again`. The OR adds no row: it keeps the
#: planner from other indexes, which with old statistics look as cheap and are full of dead entries.
READY_BY_PRIORITY = f"(({READY}) OR priority < 0)"
READY_AGAIN = f"(({READY} AND attempts > 0) OR attempts < 0)"
#: A time in microseconds, as SQL. If the clock was set back, what happened since may have an earlier time: then it is
#: the earliest of all.
SINCE = """CASE WHEN statement_timestamp() < 'epoch'::timestamptz + {since} * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + {since} * interval '1 microsecond' END"""
#: The rows of a type that became ready again at `since` or later.
RETURNED = f"{READY_AGAIN} AND task_type = {{type}} AND ready_at >= {SINCE}"
MICROS = "(extract(epoch from {moment}) * 1000000)::bigint"
_PROBES = tuple(
    f"(SELECT place FROM taskdaemon_task WHERE {rows} AND task_type = probe.type AND {which} LIMIT 1)"
    for rows, which in (
        (READY, "NOT probe.last AND probe.priority IS NULL AND place >= probe.low ORDER BY place"),
        (READY_BY_PRIORITY, "priority = probe.priority AND place >= probe.low ORDER BY place"),
        (READY, "probe.last AND place >= probe.low AND place < probe.high ORDER BY place DESC"),
    )
)
LOOK = f"""
SELECT coalesce(pg_sequence_last_value('taskdaemon_place'), 0), {MICROS.format(moment="clock_timestamp()")},
  ({WRITERS.format(table="taskdaemon_task")}),
  (SELECT coalesce(json_agg(found.place ORDER BY probe.n), '[]')::text
    FROM ROWS FROM (json_to_recordset($1::json) AS (type text, low bigint, high bigint, last boolean, priority int))
      WITH ORDINALITY AS probe(type, low, high, last, priority, n)
    LEFT JOIN LATERAL ({" UNION ALL ".join(_PROBES)}) AS found ON true),
  (SELECT coalesce(json_agg(json_build_array(asked.type, back.priority, back.place, back.micros)), '[]')::text
    FROM json_to_recordset($2::json) AS asked(type text, since bigint)
    CROSS JOIN LATERAL (SELECT priority, place, {MICROS.format(moment="ready_at")} AS micros FROM taskdaemon_task
      WHERE {RETURNED.format(type="asked.type", since="asked.since")} LIMIT {MAX_RETURNED + 1}) AS back)
"""
LOWEST = f"""
SELECT priority, min(place) FROM taskdaemon_task WHERE {RETURNED.format(type="$1", since="$2::bigint")}
GROUP BY priority
"""
_HIDDEN = tuple(
    f"""(SELECT id FROM taskdaemon_task WHERE {rows} AND task_type = band.type
      AND place >= band.low AND place < band.high
      AND (attempts = 0 OR ready_at < 'epoch'::timestamptz + band.since * interval '1 microsecond') ORDER BY place)"""
    for rows in (f"{READY} AND band.priority IS NULL", f"{READY_BY_PRIORITY} AND priority = band.priority")
)
HIDDEN = f"""
SELECT DISTINCT hidden.id::text, band.type
FROM json_to_recordset($1::json) AS band(type text, low bigint, high bigint, priority int, since bigint)
CROSS JOIN LATERAL ({" UNION ALL ".join(_HIDDEN)}) AS hidden
"""

Key = tuple[Selection, str]
"""An order and a type."""


class SessionMarks:
    """For the thread that has the session, except `known` and `forget`."""

    def __init__(self) -> None:
        #: Values are replaced, never changed: another thread may read them.
        self._marks: dict[Key, Marks] = {}
        self._lock = threading.Lock()
        self._horizon = Horizon()
        self._claimed: dict[Key, int] = {}
        self._looks = 0
        #: On the monotonic clock.
        self._look_at = 0.0

    def of(self, order: Selection, name: str) -> Marks:
        """The marks of one type."""
        return self._marks.get((order, name)) or Marks(EMPTY[order])

    def known(self) -> dict[Key, Marks]:
        """A copy of all marks. Any thread may ask."""
        return dict(self._marks)

    def forget(self, names: Collection[str]) -> None:
        """Claims read everything of these types again. Any thread may call it."""
        with self._lock:
            for key in self.known():
                if key[1] in names:
                    del self._marks[key]

    def claimed(self, order: Selection, priorities: dict[str, list[int]]) -> None:
        """After a claim: the priorities of the tasks that it took, by type."""
        for name, taken in priorities.items():
            self.cover(order, name, taken)
            self._claimed[order, name] = self._claimed.get((order, name), 0) + len(taken)

    def cover(self, order: Selection, name: str, priorities: Collection[int]) -> None:
        """From the next looks on, the marks of a type tell these priorities apart, if its order does."""
        with self._lock:
            marks = self.of(order, name)
            self._marks[order, name] = marks._replace(bands=marks.bands.claimed(priorities))

    def look_if_due(self, order: Selection) -> None:
        """Before a claim: look if this session has claimed enough since the last look."""
        if not self._claimed:
            return
        begun = time.monotonic()
        if self._looks < FIRST_LOOKS or (begun >= self._look_at and sum(self._claimed.values()) >= LOOK_TASKS):
            self.look(order, [name for of, name in self._claimed if of == order])
            self._claimed.clear()
            ended = time.monotonic()
            self._look_at = ended + (ended - begun) / MAX_LOOK_SHARE

    def look(self, order: Selection, names: Sequence[str]) -> set[str]:
        """Move the marks of these types. Returns the types that have a ready task."""
        before = [(name, self._marks.get((order, name))) for name in names]
        marks = [known or Marks(EMPTY[order]) for _, known in before]
        proven = self._horizon.proven
        probes = [each.bands.probes(proven.position) for each in marks]
        position, micros, writers, found, returned = ask(names, probes, [each.since for each in marks])
        sample = Sample(position, micros)
        self._looks += 1
        set_back = self._horizon.sampled is not None and sample.micros < self._horizon.sampled.micros
        self._horizon = self._horizon.seen(sample, writers)
        ready = set()
        for (name, known), each, asked in zip(before, marks, probes, strict=True):
            answers, found = found[: len(asked)], found[len(asked) :]
            rows = [row for of, row in returned if of == name]
            if rows or any(answer is not None for answer in answers):
                ready.add(name)
            if proven.position and not set_back:
                new = moved(name, each, proven, answers, rows)
                with self._lock:
                    if self._marks.get((order, name)) is known:  # otherwise another thread has forgotten them
                        self._marks[order, name] = new
        if set_back:
            with self._lock:
                self._marks.clear()
        return ready


def moved(
    name: str, marks: Marks, proven: Sample, answers: Sequence[int | None], returned: Sequence[Returned]
) -> Marks:
    """The marks of a type after a look; `proven` held before it."""
    if len(returned) > MAX_RETURNED:
        return marks.uncovered(proven, dict(prepared(LOWEST, (name, marks.since))))
    return marks.looked(proven, answers, returned)


def ask(
    names: Sequence[str], probes: Sequence[Sequence[Probe]], since: Sequence[int]
) -> tuple[int, int, frozenset[str], list[int | None], list[tuple[str, Returned]]]:
    """What a look sees: what the sequence and the clock have reached, the writers, an answer for each probe, and what
    came back, with its type."""
    asked = [{"type": name, **probe._asdict()} for name, of in zip(names, probes, strict=True) for probe in of]
    types = [{"type": name, "since": moment} for name, moment in zip(names, since, strict=True)]
    [(position, micros, writers, found, returned)] = prepared(LOOK, (json.dumps(asked), json.dumps(types)))
    rows = [(row[0], Returned(*row[1:])) for row in json.loads(returned)]
    return position, micros, frozenset(json.loads(writers)), json.loads(found), rows


_sessions: WeakKeyDictionary[Any, SessionMarks] = WeakKeyDictionary()
_lock = threading.Lock()


def session_marks() -> SessionMarks | None:
    """Those of this thread's session; None within a transaction, whose own changes may be undone."""
    if connection.in_atomic_block:
        return None
    connection.ensure_connection()
    with _lock:
        found = _sessions.get(connection.connection)
        if found is None:
            found = _sessions[connection.connection] = SessionMarks()
    return found


def overlooked() -> dict[str, int]:
    """Ready tasks that marks of this process hide, by type; the marks of these types are forgotten.

    There are none, unless rows were changed by hand.
    """
    # No claim is sent on a session that is over: with it the database may have lost the claims that its marks follow.
    with _lock:
        sessions = [marks for session, marks in _sessions.items() if not session.closed]
    # Read before the statement's snapshot is taken, so that what a mark covers is dead in it.
    bands = {
        (name, *band, marks.since)
        for session in sessions
        for (_, name), marks in session.known().items()
        for band in marks.bands.bands()
        if band.low < band.high
    }
    if not bands:
        return {}
    asked = [dict(zip(("type", "low", "high", "priority", "since"), band, strict=True)) for band in bands]
    found: dict[str, int] = {}
    for _, name in prepared(HIDDEN, (json.dumps(asked),)):
        found[name] = found.get(name, 0) + 1
    for session in sessions:
        session.forget(found)
    return found
