"""Due work on SQLite."""

from __future__ import annotations

import json
from typing import Any

from django.db import connection

from tasks_app.store.due_work import KEEP_LIVE_EVENTS_SECONDS, KEEP_STOPPED_NODES_DAYS, MAX_VALID_LEASE_SECONDS, DueWork
from tasks_app.store.first_times import FirstTimes
from tasks_app.store.on_hold import OnHold
from tasks_app.store.sql import DUE_WORK, DUE_WORK_FULL, HOLDERS, LOST, NOT_BEGUN, ON_HOLD
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
    bound = {"now": clock.seconds(), "clock": clock.clock_id(), "node": node}
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
