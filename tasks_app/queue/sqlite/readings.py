"""The reading of counters and queues on SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, Func, IntegerField
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

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
from tasks_app.queue.sql import (
    DUE_WORK,
    DUE_WORK_FULL,
    FINAL_OR_GONE,
    HOLDERS,
    LOST,
    NOT_BEGUN,
    NOT_EXPIRED,
    ON_HOLD,
    READY,
    VERSIONS,
)
from tasks_app.queue.sqlite import session

#: All running tasks, along their index.
RUNS = "SELECT id, task_type, node FROM taskdaemon_task WHERE status = 'processing'"
READING = sql.READING.format(
    counters="taskdaemon_counter", age="(julianday('now') - julianday(min(ready_at))) * 86400.0", running=RUNS
)


def reading() -> list[tuple[Any, ...]]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(READING)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def running() -> list[tuple[UUID, str, str]]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(RUNS)
        return [(UUID(identity), name, node) for identity, name, node in cursor.fetchall()]


# Due work on SQLite.

WALL = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
_PARTS = {
    "now": ":now",
    "wall": WALL,
    "kept": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEEP_STOPPED_NODES_DAYS} days')",
    "kept_events": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEEP_LIVE_EVENTS_SECONDS} seconds')",
    "clock": ":clock",
    "node": ":node",
    "array": "json_group_array(node)",
    "handlers": "json_group_array(handler)",
    "no": "0",
    "minute": "CAST(strftime('%s', 'now') AS integer) / 60",
    "longest": MAX_VALID_LEASE_SECONDS,
    "from_due": "",
    "from_expiry": "",
    "not_begun": NOT_BEGUN,
}
_RUNNING = {"holders": HOLDERS.format(**_PARTS), "lost": LOST.format(**_PARTS)}
#: By `full`.
STATEMENTS = {False: DUE_WORK.format(**_PARTS, **_RUNNING), True: DUE_WORK_FULL.format(**_PARTS, **_RUNNING)}
READ_ON_HOLD = "SELECT" + ON_HOLD.format(**_PARTS)


def due_work(node: str, full: bool) -> DueWork:
    """See Store."""
    bound = {"now": session.seconds(), "clock": session.clock_id(), "node": node}
    now, next_due, holders, *rest = _row(STATEMENTS[full], bound)
    found: list[Any] = [*map(bool, rest[:-3]), rest[-3], _on_hold(*rest[-2:])] if full else []
    return DueWork(now, next_due, tuple(json.loads(holders or "[]")), *found)


def first_times() -> FirstTimes:
    """See Store. There is no dead entry to skip."""
    return FirstTimes()


def on_hold(node: str) -> OnHold:
    """See Store."""
    return _on_hold(*_row(READ_ON_HOLD, {"node": node}))


def _row(statement: str, bound: dict[str, Any]) -> tuple[Any, ...]:
    with connection.wrap_database_errors:
        connection.ensure_connection()
        return tuple(connection.connection.execute(statement, bound).fetchone())


def _on_hold(handlers: str, drained: int) -> OnHold:
    return OnHold(frozenset(json.loads(handlers)), bool(drained))


# How many ready tasks come before one, on SQLite.

_ROWS = f"{READY} AND task_type = :type AND {NOT_EXPIRED.format(wall=WALL)}"
#: What comes before a task, in ranges of the order's index: which rows, and how it is read from that task backwards.
RANGES: dict[Selection, tuple[tuple[str, str], ...]] = {
    "fifo": (("place < :position", "place DESC"),),
    "lifo": (("place > :position", "place"),),
    "priority": (
        ("priority = :priority AND place < :position", "place DESC"),
        ("priority > :priority", "priority, place DESC"),
    ),
}


def statement(order: Selection) -> str:
    """The query for one order."""
    ranges = " UNION ALL ".join(
        f"SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE {_ROWS} AND {which} ORDER BY {by} LIMIT :limit)"
        for which, by in RANGES[order]
    )
    return f"SELECT count(*) FROM (SELECT * FROM ({ranges}) LIMIT :limit)"


def queued_before(task_type: str, priority: int, position: int, order: Selection, limit: int) -> int:
    """See Store."""
    bound = {"type": task_type, "priority": priority, "position": position, "limit": limit}
    with connection.wrap_database_errors:
        connection.ensure_connection()
        [(found,)] = connection.connection.execute(statement(order), bound).fetchall()
    return int(found)


# What changes with each event of a task, on SQLite.

READ_VERSIONS = VERSIONS.format(id="value", ids="json_each(?) AS watched")


def versions(ids: Sequence[UUID]) -> dict[UUID, str]:
    """See Store."""
    with connection.wrap_database_errors:
        connection.ensure_connection()
        rows = connection.connection.execute(READ_VERSIONS, (json.dumps([each.hex for each in ids]),)).fetchall()
    return {UUID(text): version for text, version in rows if version is not None}


# Which of some tasks are final, on SQLite.

READ_FINAL_OR_GONE = FINAL_OR_GONE.format(id="value", ids="json_each(?) AS watched", yes="1")


def final_or_gone(ids: Sequence[UUID]) -> list[UUID]:
    """See Store."""
    with connection.wrap_database_errors:
        connection.ensure_connection()
        rows = connection.connection.execute(READ_FINAL_OR_GONE, (json.dumps([each.hex for each in ids]),)).fetchall()
    return [UUID(text) for (text,) in rows]


# The size of a JSON column's text on SQLite, where the column is text.

#: Since 3.43 there is octet_length, which need not read the text.
TEMPLATE = (
    "octet_length(%(expressions)s)"
    if sqlite3.sqlite_version_info >= (3, 43)
    else "length(CAST(%(expressions)s AS BLOB))"
)


def json_bytes(column: str, exact: bool = False) -> Combinable:
    """See Store. It is exact, as it need not read the text."""
    return Coalesce(Func(F(column), template=TEMPLATE, output_field=IntegerField()), 0)


def task_bytes() -> Combinable:
    """See Store. Before 3.43 the text is read after all."""
    return json_bytes("task_data") + json_bytes("result")


# The data of one task on SQLite.


def task_data(task_id: str, limit: int) -> tuple[int, str | None] | None:
    """See Store."""
    with connection.wrap_database_errors:
        connection.ensure_connection()
        rows = connection.connection.execute("SELECT task_data FROM taskdaemon_task WHERE id = ?", (UUID(task_id).hex,))
        found = rows.fetchone()
    if found is None:
        return None
    size = len(found[0].encode())
    return size, found[0] if size <= limit else None
