"""Readings of the queue on SQLite: counters and queues, due work, types and nodes on hold, and single tasks.

There is no dead entry to skip, and the database has no other clock than this process.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

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
from tasks_app.queue.sqlite.session import clock_id, held_clock, read, seconds

#: The present time of day.
WALL = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

# Counters and queues.

#: All running tasks, along their index.
RUNS = "SELECT id, task_type, node FROM taskdaemon_task WHERE status = 'processing'"
READING = sql.READING.format(
    counters="taskdaemon_counter",
    age="(julianday('now') - julianday(min(ready_at))) * 86400.0",
    running=RUNS,
    not_ready=sql.NOT_READY,
)


def reading() -> list[tuple[Any, ...]]:
    return read(READING)


def running() -> list[tuple[UUID, str, str]]:
    return [(UUID(identity), name, node) for identity, name, node in read(RUNS)]


# Due work.

_PARTS = {
    "now": ":now",
    "wall": WALL,
    "kept": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEEP_STOPPED_NODES_DAYS} days')",
    "kept_events": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEEP_LIVE_EVENTS_SECONDS} seconds')",
    "clock": ":clock",
    "node": ":node",
    "array": "json_group_array(node)",
    "handlers": "json_group_array(handler)",
    "limits": "json_group_array(json_array(type, places, seconds))",
    "minute": "CAST(strftime('%s', 'now') AS integer) / 60",
    "longest": MAX_VALID_LEASE_SECONDS,
    "from_due": "",
    "before_held": f"AND clock < '{held_clock()}'",
    "from_expiry": "",
    "not_begun": sql.NOT_BEGUN,
}
_HOLDERS = "SELECT DISTINCT node FROM taskdaemon_task WHERE status = 'processing' AND node <> :node ORDER BY node"
_LOST = f"""SELECT 1 FROM taskdaemon_task
    WHERE status = 'processing' AND {sql.LATE.format(**_PARTS)}
    ORDER BY node LIMIT 1"""


@cache
def on_hold_statement() -> str:
    return sql.on_hold().format(**_PARTS)


@cache
def due_work_statement() -> str:
    return sql.due_work(from_end=lambda name: "").format(**_PARTS, holders=_HOLDERS, lost=_LOST)


def due_work(node: str) -> DueWork:
    [row] = read(due_work_statement(), {"now": seconds(), "clock": clock_id(), "node": node})
    return sql.due_work_of(row)


def on_hold(node: str) -> OnHold:
    [row] = read(on_hold_statement(), {"now": seconds(), "node": node})
    return sql.on_hold_of(row)


def first_times() -> FirstTimes:
    return FirstTimes()


# How many ready tasks come before one.

_ROWS = f"{sql.READY} AND task_type = :type AND {sql.NOT_EXPIRED.format(wall=WALL)}"
#: The rows before a task, in ranges of the order's index: each range's condition, and its order backwards.
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
    bound = {"type": task_type, "priority": priority, "position": position, "limit": limit}
    [(count,)] = read(statement(order), bound)
    return int(count)


# Tasks by their ids.

READ_VERSIONS = sql.VERSIONS.format(id="value", ids="json_each(?) AS watched")
READ_FINAL_OR_GONE = sql.FINAL_OR_GONE.format(id="value", ids="json_each(?) AS watched", yes="1")
READ_DATA = "SELECT task_data FROM taskdaemon_task WHERE id = ?"


def versions(ids: Sequence[UUID]) -> dict[UUID, str]:
    rows = read(READ_VERSIONS, (json.dumps([identity.hex for identity in ids]),))
    return {UUID(text): version for text, version in rows if version is not None}


def final_or_gone(ids: Sequence[UUID]) -> list[UUID]:
    return [UUID(text) for (text,) in read(READ_FINAL_OR_GONE, (json.dumps([identity.hex for identity in ids]),))]


def task_data(task_id: str, limit: int) -> tuple[int, str | None] | None:
    for (text,) in read(READ_DATA, (UUID(task_id).hex,)):
        size = len(text.encode())
        return size, text if size <= limit else None
    return None


# The sizes of JSON columns, which are text here.

#: Since 3.43 there is octet_length, which need not read the text.
TEMPLATE = (
    "octet_length(%(expressions)s)"
    if sqlite3.sqlite_version_info >= (3, 43)
    else "length(CAST(%(expressions)s AS BLOB))"
)


def json_bytes(column: str, exact: bool = False) -> Combinable:
    """The size is exact: the text need not be read."""
    return Coalesce(Func(F(column), template=TEMPLATE, output_field=IntegerField()), 0)


def task_bytes() -> Combinable:
    """Before 3.43 the text is read after all."""
    return json_bytes("task_data") + json_bytes("result")
