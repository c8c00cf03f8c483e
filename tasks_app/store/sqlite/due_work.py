"""Due work on SQLite."""

from __future__ import annotations

import json

from django.db import connection

from tasks_app.store.due_work import KEEP_LIVE_EVENTS_SECONDS, KEEP_STOPPED_NODES_DAYS, MAX_VALID_LEASE_SECONDS, DueWork
from tasks_app.store.sql import DUE_WORK, DUE_WORK_FULL, HOLDERS, LOST
from tasks_app.store.sqlite import clock

WALL = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
_PARTS = {
    "now": ":now",
    "wall": WALL,
    "kept": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEEP_STOPPED_NODES_DAYS} days')",
    "kept_events": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEEP_LIVE_EVENTS_SECONDS} seconds')",
    "clock": ":clock",
    "node": ":node",
    "array": "json_group_array(node)",
    "no": "0",
    "longest": MAX_VALID_LEASE_SECONDS,
}
_RUNNING = {"holders": HOLDERS.format(**_PARTS), "lost": LOST.format(**_PARTS)}
#: By `full`.
STATEMENTS = {False: DUE_WORK.format(**_PARTS, **_RUNNING), True: DUE_WORK_FULL.format(**_PARTS, **_RUNNING)}


def due_work(node: str, full: bool) -> DueWork:
    """See Store."""
    bound = {"now": clock.seconds(), "clock": clock.clock_id(), "node": node}
    with connection.wrap_database_errors:
        connection.ensure_connection()
        [(now, next_due, holders, *rest)] = connection.connection.execute(STATEMENTS[full], bound).fetchall()
    return DueWork(now, next_due, tuple(json.loads(holders or "[]")), *map(bool, rest))
