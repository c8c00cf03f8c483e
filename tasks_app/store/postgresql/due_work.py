"""Due work on PostgreSQL, from where the indexes begin to have rows (`scan_start`)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.due_work import KEEP_LIVE_EVENTS_SECONDS, KEEP_STOPPED_NODES_DAYS, MAX_VALID_LEASE_SECONDS, DueWork
from tasks_app.store.first_times import FirstTimes
from tasks_app.store.on_hold import OnHold
from tasks_app.store.postgresql.scan_start import RUNNING, ScanStart, scan_start
from tasks_app.store.postgresql.session_marks import SINCE
from tasks_app.store.sql import DUE_WORK, DUE_WORK_FULL, LATE, NOT_BEGUN, ON_HOLD

_PARTS = {
    "now": "extract(epoch from clock_timestamp())::float8",
    "wall": "clock_timestamp()",
    "kept": f"clock_timestamp() - interval '{KEEP_STOPPED_NODES_DAYS} days'",
    "kept_events": f"clock_timestamp() - interval '{KEEP_LIVE_EVENTS_SECONDS} seconds'",
    "clock": "'server'",
    "node": "$1::text",
    "array": "json_agg(node)::text",
    "handlers": "json_agg(handler)::text",
    "no": "false",
    # Not the time of `clock_timestamp()`, which no index is read for.
    "minute": "floor(extract(epoch from statement_timestamp()) / 60)::bigint",
    "longest": MAX_VALID_LEASE_SECONDS,
    "not_begun": NOT_BEGUN,
}
_RUNNING = RUNNING.format(since="$3", ids="$4")
_ADDED = {
    "holders": f"SELECT DISTINCT node FROM {_RUNNING} WHERE node <> $1::text ORDER BY node",
    "lost": f"SELECT 1 FROM {_RUNNING} WHERE {LATE} LIMIT 1".format(**_PARTS),
    "from_due": "AND due >= $2::float8",
    "from_expiry": f"AND expires_at >= {SINCE.format(since='$5::bigint')} AND expires_at <= statement_timestamp()",
}
#: By `full`. $1 the node, $2 from when on tasks wait, $3 and $4 as RUNNING; if it is full, $5 from when on they expire.
STATEMENTS = {False: DUE_WORK.format(**_PARTS, **_ADDED), True: DUE_WORK_FULL.format(**_PARTS, **_ADDED)}
READ_ON_HOLD = "SELECT" + ON_HOLD.format(**_PARTS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def due_work(node: str, full: bool) -> DueWork:
    """See Store."""
    start = scan_start() or ScanStart()
    values = (node, start.due, *start.began, *((start.expires,) if full else ()))
    [(now, next_due, holders, *rest)] = prepared(STATEMENTS[full], values)
    found = [*rest[:-2], _on_hold(*rest[-2:])] if full else []
    return DueWork(now, next_due, tuple(json.loads(holders or "[]")), *found)


def first_times() -> FirstTimes:
    """See Store."""
    start = scan_start() or ScanStart()
    return FirstTimes(start.due, *(_EPOCH + timedelta(microseconds=each) for each in (start.expires, start.ungrouped)))


def on_hold(node: str) -> OnHold:
    """See Store."""
    [row] = prepared(READ_ON_HOLD, (node,))
    return _on_hold(*row)


def _on_hold(handlers: str | None, drained: bool) -> OnHold:
    return OnHold(frozenset(json.loads(handlers or "[]")), drained)
