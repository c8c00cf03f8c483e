"""Readings of the queue on PostgreSQL: counters and queues, due work, types and nodes on hold, and single tasks.

A reading along an index starts where the index begins to have rows (`scan_start`), or where a claim would (`marks`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Case, F, Func, IntegerField, TextField, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import LessThanOrEqual

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue import sql
from tasks_app.queue.attempt import Selection
from tasks_app.queue.due_work import (
    KEEP_LIVE_EVENTS_SECONDS,
    KEEP_STOPPED_NODES_DAYS,
    MAX_VALID_LEASE_SECONDS,
    DueWork,
    FirstTimes,
    OnHold,
)
from tasks_app.queue.postgresql.claim import (
    BY_POSITION,
    BY_PRIORITY,
    MEASURED_BYTES,
    STARTABLE_BY_POSITION,
    STARTABLE_BY_PRIORITY,
    arms,
    as_arrays,
)
from tasks_app.queue.postgresql.counters import PARTS
from tasks_app.queue.postgresql.marks import EMPTY, END, READY_AGAIN, RETURNED, SINCE, TOP, Marks, session_marks
from tasks_app.queue.postgresql.scan_start import EXPIRING, RUNNING, ScanStart, TypeStart, from_end, scan_start

# Counters and queues.

#: Along the whole indexes, while there is no `ScanStart`.
READING = sql.READING.format(
    counters=PARTS,
    age="(extract(epoch from clock_timestamp() - min(ready_at)))::float8",
    running="""SELECT task_type, node FROM taskdaemon_task
      WHERE status = 'processing' AND started_at >= '-infinity' ORDER BY started_at""",
    not_ready=sql.NOT_READY,
)
#: ORDER BY keeps the planner from a scan of the table.
_COUNT = (
    "SELECT count(*) FROM unnest(known.a, known.b, known.c) AS segment(a, b, c) CROSS JOIN LATERAL ({arms}) AS found"
)
_OLDEST = f"""(extract(epoch from clock_timestamp() - least(
    (SELECT ready_at FROM taskdaemon_task WHERE {sql.READY} AND task_type = known.type AND place >= known.new
      AND attempts = 0 ORDER BY place LIMIT 1),
    (SELECT ready_at FROM taskdaemon_task WHERE {READY_AGAIN} AND task_type = known.type
      AND ready_at >= {SINCE.format(since="known.again")} ORDER BY ready_at LIMIT 1))))::float8"""
_WAITING = " UNION ALL ".join(
    "SELECT task_type, due FROM (SELECT * FROM taskdaemon_task"
    f" WHERE status = 'pending' AND due IS NOT NULL AND {which} ORDER BY {order}) AS waits{n}"
    for n, (which, order) in enumerate(
        (
            ("clock = 'server' AND due >= $5::float8", "due"),
            ("clock < 'server'", "clock"),
            ("clock > 'server'", "clock"),
        )
    )
)
_READING = f"""
WITH parts AS MATERIALIZED (
  SELECT series, CAST(sum(value) AS bigint) AS value FROM {PARTS} GROUP BY series
), listed AS MATERIALIZED (
  SELECT * FROM json_to_recordset($1::json)
    AS l(type text, since bigint, new bigint, again bigint, a bigint[], b bigint[], c bigint[])
), known AS MATERIALIZED (
  SELECT * FROM listed
  UNION ALL SELECT name, 0, 0, 0, $2::bigint[], $3::bigint[], $4::bigint[]
  FROM (SELECT DISTINCT split_part(series, '|', 2) AS name FROM parts WHERE series LIKE 'received|%') AS received
  WHERE name NOT IN (SELECT type FROM listed)
)
SELECT 'total', series, '', value, CAST(NULL AS float8) FROM parts
UNION ALL SELECT 'ready', type, '', n, {_OLDEST} FROM (SELECT *, ({_COUNT}) AS n FROM known) AS known WHERE n > 0
UNION ALL SELECT {sql.NOT_READY}, task_type, '', count(*), NULL FROM ({_WAITING}) AS waiting GROUP BY 1, task_type
UNION ALL SELECT 'running', task_type, node, count(*), NULL FROM {RUNNING.format(since="$6", ids="$7")}
GROUP BY task_type, node
"""
#: All running tasks.
RUNS = f"SELECT id, task_type, node FROM {RUNNING.format(since='$1', ids='$2')}"


@cache
def reading_statement(order: Selection) -> str:
    """$1 what is known of the types, $2 to $4 the segments of any other type, $5 due, $6 and $7 as RUNNING."""
    all_arms = " UNION ALL ".join(
        f"SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE {rows.format(type='known.type', since='known.since')}"
        f" AND {which} ORDER BY {by}) AS arm{n}"
        for n, (rows, which, by) in enumerate(arms(BY_POSITION, BY_PRIORITY, RETURNED)[order])
    )
    return _READING.replace("{arms}", all_arms)


def reading() -> list[tuple[Any, ...]]:
    start = scan_start()
    if start is None:
        with connection.cursor() as cursor:
            cursor.execute(READING)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    other = as_arrays(start.order, Marks(EMPTY[start.order]))
    return prepared(reading_statement(start.order), (_known(start.types), *other, start.due, *start.began))


def _known(types: Mapping[str, TypeStart]) -> str:
    known = []
    for name, start in types.items():
        a, b, c = zip(*start.marks.bands.segments(), strict=True)
        known.append({
            "type": name, "since": start.marks.since, "new": start.new, "again": start.again, "a": a, "b": b, "c": c,
        })  # fmt: skip
    return json.dumps(known)


def running() -> list[tuple[UUID, str, str]]:
    start = scan_start() or ScanStart()
    return prepared(RUNS, start.began)


# Due work.

_PARTS = {
    "now": "extract(epoch from clock_timestamp())::float8",
    "wall": "clock_timestamp()",
    "kept": f"clock_timestamp() - interval '{KEEP_STOPPED_NODES_DAYS} days'",
    "kept_events": f"clock_timestamp() - interval '{KEEP_LIVE_EVENTS_SECONDS} seconds'",
    "clock": "'server'",
    "node": "$1::text",
    "array": "json_agg(node)::text",
    "handlers": "json_agg(handler)::text",
    "limits": "json_agg(json_build_array(type, places, seconds))::text",
    # Not the time of `clock_timestamp()`, which no index is read for.
    "minute": "floor(extract(epoch from statement_timestamp()) / 60)::bigint",
    "longest": MAX_VALID_LEASE_SECONDS,
    "not_begun": sql.NOT_BEGUN,
}
_RUNNING = RUNNING.format(since="$3", ids="$4")
_ADDED = {
    "holders": f"SELECT DISTINCT node FROM {_RUNNING} WHERE node <> $1::text ORDER BY node",
    "lost": f"SELECT 1 FROM {_RUNNING} WHERE {sql.LATE} LIMIT 1".format(**_PARTS),
    "before_held": "",
    "from_due": "AND due >= $2::float8",
    "from_expiry": f"AND {EXPIRING}",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def on_hold_statement() -> str:
    return sql.on_hold().format(**_PARTS)


@cache
def due_work_statement() -> str:
    """$1 the node, $2 from when on tasks wait, $3 and $4 as RUNNING, $5 from when on tasks expire, $6 and following as
    `from_end`."""
    return sql.due_work(from_end(6)).format(**_PARTS, **_ADDED)


def due_work(node: str) -> DueWork:
    start = scan_start() or ScanStart()
    values: tuple[str | float, ...] = (node, start.due, *start.began, start.expires, *start.since_ends())
    [row] = prepared(due_work_statement(), values)
    return sql.due_work_of(row)


def on_hold(node: str) -> OnHold:
    [row] = prepared(on_hold_statement(), (node,))
    return sql.on_hold_of(row)


def first_times() -> FirstTimes:
    start = scan_start() or ScanStart()
    return FirstTimes(start.due, _moment(start.expires), {name: _moment(at) for name, at in start.ended.items()})


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


# How many ready tasks come before one: read as a claim reads them, in the opposite direction.

_NEXT = "CASE WHEN segment.a > $3::int THEN {end} ELSE $2::bigint END"
_EQUAL = f"priority = segment.a AND segment.a >= $3::int AND place < {_NEXT.format(end=END)}"
#: Like `claim.ARMS`, but only rows before position $2 with priority $3. They are read from that task backwards: dead
#: entries are at the front of the queue. A segment without a band has no returned rows.
ARMS: dict[Selection, tuple[tuple[str, str, str], ...]] = {
    "fifo": (
        (STARTABLE_BY_POSITION, "place >= segment.a AND place < $2::bigint", "place DESC"),
        (RETURNED, "segment.a > 0 AND place < segment.a AND place < $2::bigint", "place DESC"),
    ),
    "lifo": (
        (STARTABLE_BY_POSITION, "place >= segment.a AND place > $2::bigint AND place < segment.b", "place"),
        (RETURNED, "segment.a > 0 AND place < segment.a AND place >= segment.c AND place > $2::bigint", "place"),
    ),
    "priority": (
        (STARTABLE_BY_PRIORITY, f"{_EQUAL} AND place >= segment.b", "place DESC"),
        (RETURNED, f"segment.b > 0 AND {_EQUAL} AND place < segment.b", "place DESC"),
        (STARTABLE_BY_PRIORITY,
         "priority = $3::int AND segment.a > $3::int AND segment.c < $3::int AND place < $2::bigint", "place DESC"),
        (STARTABLE_BY_PRIORITY,
         "priority < segment.a AND priority > segment.c AND priority > $3::int", "priority, place DESC"),
    ),
}  # fmt: skip


@cache
def statement(order: Selection) -> str:
    """The query for one order: $1 type, $2 position, $3 priority, $4 limit, $5 since, $6 to $8 the segments."""
    arms = " UNION ALL ".join(
        f"SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE {rows.format(type='$1', since='$5::bigint')} AND {which}"
        f" ORDER BY {by} LIMIT $4::int) AS arm{n}"
        for n, (rows, which, by) in enumerate(ARMS[order])
    )
    segments = "unnest($6::bigint[], $7::bigint[], $8::bigint[]) AS segment(a, b, c)"
    # $3 is used in one order only, and a parameter without a use has no type.
    return (
        f"SELECT count(*) FROM (SELECT 1 FROM {segments} CROSS JOIN LATERAL ({arms}) AS found"
        " WHERE $3::int IS NOT NULL LIMIT $4::int) AS before"
    )


def queued_before(task_type: str, priority: int, position: int, order: Selection, limit: int) -> int:
    marks = Marks(EMPTY[order])
    if (session := session_marks()) is not None:
        session.cover(order, task_type, range(priority, TOP))
        session.look(order, [task_type])
        marks = session.of(order, task_type)
    a, b, c = as_arrays(order, marks)
    [(count,)] = prepared(statement(order), (task_type, position, priority, limit, marks.since, a, b, c))
    return int(count)


# Tasks by their ids.

READ_VERSIONS = sql.VERSIONS.format(id="id", ids="unnest($1::uuid[]) AS watched(id)")
READ_FINAL_OR_GONE = sql.FINAL_OR_GONE.format(id="id", ids="unnest($1::uuid[]) AS watched(id)", yes="true")
#: OFFSET keeps the planner from making the text twice.
READ_DATA = """
SELECT octet_length(text), CASE WHEN octet_length(text) <= $2::int THEN text END
FROM (SELECT task_data::text FROM taskdaemon_task WHERE id = $1::uuid OFFSET 0) AS made(text)
"""


def versions(ids: Sequence[UUID]) -> dict[UUID, str]:
    rows = prepared(READ_VERSIONS, (_array(ids),))
    return {identity: version for identity, version in rows if version is not None}


def final_or_gone(ids: Sequence[UUID]) -> list[UUID]:
    return [identity for (identity,) in prepared(READ_FINAL_OR_GONE, (_array(ids),))]


def _array(ids: Sequence[UUID]) -> str:
    return f"{{{','.join(map(str, ids))}}}"


def task_data(task_id: str, limit: int) -> tuple[int, str | None] | None:
    return next(((size, text) for size, text in prepared(READ_DATA, (task_id, limit))), None)


# The sizes of JSON columns.

#: The columns whose sizes are columns too: `task_data_size`, `result_size`.
SIZED = ("task_data", "result")


def json_bytes(column: str, exact: bool = False) -> Combinable:
    size = Func(Cast(F(column), TextField()), function="octet_length", output_field=IntegerField())
    if exact or column not in SIZED:
        return Coalesce(size, 0)
    return Case(
        When(**{f"{column}__isnull": True}, then=0),
        When(**{f"{column}_size__isnull": False}, then=F(f"{column}_size")),
        When(LessThanOrEqual(_taken(column), MEASURED_BYTES), then=size),
        output_field=IntegerField(),
    )


def task_bytes() -> Combinable:
    """For a row without a stored size: the bytes that the column takes, perhaps compressed."""
    data, result = (Coalesce(F(f"{column}_size"), _taken(column), 0) for column in SIZED)
    return data + result


def _taken(column: str) -> Func:
    return Func(F(column), function="pg_column_size", output_field=IntegerField())
