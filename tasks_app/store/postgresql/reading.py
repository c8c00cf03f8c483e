"""The reading of counters and queues on PostgreSQL, from where the indexes begin to have rows (`scan_start`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store import sql
from tasks_app.store.claimed_task import Selection
from tasks_app.store.postgresql.claim import BY_PLACE, BY_PRIORITY, arms, as_arrays
from tasks_app.store.postgresql.counters import PARTS
from tasks_app.store.postgresql.marks import EMPTY, Marks
from tasks_app.store.postgresql.scan_start import RUNNING, ScanStart, TypeStart, scan_start
from tasks_app.store.postgresql.session_marks import READY_AGAIN, RETURNED, SINCE

#: Along the whole indexes, while there is no `ScanStart`.
READING = sql.READING.format(
    counters=PARTS,
    age="(extract(epoch from clock_timestamp() - min(ready_at)))::float8",
    running="""SELECT task_type, node FROM taskdaemon_task
      WHERE status = 'processing' AND started_at >= '-infinity' ORDER BY started_at""",
)
# ORDER BY keeps the planner from a scan of the table.
_COUNT = (
    "SELECT count(*) FROM unnest(known.a, known.b, known.c) AS segment(a, b, c) CROSS JOIN LATERAL ({arms}) AS found"
)
_OLDEST = f"""(extract(epoch from clock_timestamp() - least(
    (SELECT ready_at FROM taskdaemon_task WHERE {sql.READY} AND task_type = known.type AND place >= known.new
      AND attempts = 0 ORDER BY place LIMIT 1),
    (SELECT ready_at FROM taskdaemon_task WHERE {READY_AGAIN} AND task_type = known.type
      AND ready_at >= {SINCE.format(since="known.again")} ORDER BY ready_at LIMIT 1))))::float8"""
_WAITING = " UNION ALL ".join(
    f"SELECT task_type FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND {which}"
    f" ORDER BY {order}) AS waits{n}"
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
UNION ALL SELECT 'waiting', task_type, '', count(*), NULL FROM ({_WAITING}) AS waiting GROUP BY task_type
UNION ALL SELECT 'running', task_type, node, count(*), NULL FROM {RUNNING.format(since="$6", ids="$7")}
GROUP BY task_type, node
"""
#: All running tasks.
RUNS = f"SELECT id, task_type, node FROM {RUNNING.format(since='$1', ids='$2')}"


@cache
def statement(order: Selection) -> str:
    """$1 what is known of the types, $2 to $4 the segments of any other type, $5 due, $6 and $7 as RUNNING."""
    each = " UNION ALL ".join(
        f"SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE {rows.format(type='known.type', since='known.since')}"
        f" AND {which} ORDER BY {by}) AS arm{n}"
        for n, (rows, which, by) in enumerate(arms(BY_PLACE, BY_PRIORITY, RETURNED)[order])
    )
    return _READING.replace("{arms}", each)


def reading() -> list[tuple[Any, ...]]:
    """See Store."""
    start = scan_start()
    if start is None:
        with connection.cursor() as cursor:
            cursor.execute(READING)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    other = as_arrays(start.order, Marks(EMPTY[start.order]))
    return prepared(statement(start.order), (_known(start.types), *other, start.due, *start.began))


def _known(types: Mapping[str, TypeStart]) -> str:
    known = []
    for name, each in types.items():
        a, b, c = zip(*each.marks.bands.segments(), strict=True)
        known.append({
            "type": name, "since": each.marks.since, "new": each.new, "again": each.again, "a": a, "b": b, "c": c,
        })  # fmt: skip
    return json.dumps(known)


def running() -> list[tuple[UUID, str, str]]:
    """See Store."""
    start = scan_start() or ScanStart()
    return prepared(RUNS, start.began)
