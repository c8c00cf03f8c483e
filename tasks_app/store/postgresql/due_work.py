"""Due work on PostgreSQL.

While a session holds a snapshot, the index of running tasks has an entry of every task that has run since. If reading
all of them takes long, it is done seldom, and in between only what dead nodes hold is looked for, by their names.
"""

from __future__ import annotations

import json
import threading
import time

from tasks_app import conf
from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.due_work import KEEP_LIVE_EVENTS_SECONDS, KEEP_STOPPED_NODES_DAYS, MAX_VALID_LEASE_SECONDS, DueWork
from tasks_app.store.on_hold import OnHold
from tasks_app.store.sql import DUE_WORK, DUE_WORK_FULL, HOLDERS, LOST, ON_HOLD

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
    "longest": MAX_VALID_LEASE_SECONDS,
}
_OF_ALL = {"holders": HOLDERS.format(**_PARTS), "lost": LOST.format(**_PARTS)}
#: Whether a node has stopped so lately that it may have left tasks; their leases last no longer.
_JUST_STOPPED = f"stopped_at > clock_timestamp() - interval '{MAX_VALID_LEASE_SECONDS:g} seconds'"
#: A node that is alive updates its row at least three times a lease. When a lease has run out, it has not for longer.
_SILENT = f"seen < {_PARTS['now']} - {conf.environment().lease / 2:g}"
#: The range and the order keep the planner from a scan of the table.
_HELD = """EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
      WHERE status = 'processing' AND node >= peer.name AND node <= peer.name {and_} ORDER BY node LIMIT 1) AS held)"""
_LATE = "AND (lease < {now} OR lease > {now} + {longest} OR clock <> {clock})".format(**_PARTS)
_BY_NAMES = {
    "holders": f"""SELECT name AS node FROM taskdaemon_node AS peer WHERE name <> $1::text
      AND (stopped_at IS NULL OR ({_JUST_STOPPED} AND {_HELD.format(and_="")})) ORDER BY name""",
    "lost": f"""SELECT 1 FROM taskdaemon_node AS peer WHERE ((stopped_at IS NULL AND {_SILENT}) OR {_JUST_STOPPED})
      AND {_HELD.format(and_=_LATE)} LIMIT 1""",
}
#: By `full`: along all running tasks, and by the names of nodes.
STATEMENTS = {False: DUE_WORK.format(**_PARTS, **_OF_ALL), True: DUE_WORK_FULL.format(**_PARTS, **_OF_ALL)}
BY_NAMES = {False: DUE_WORK.format(**_PARTS, **_BY_NAMES), True: DUE_WORK_FULL.format(**_PARTS, **_BY_NAMES)}
READ_ON_HOLD = "SELECT" + ON_HOLD.format(**_PARTS)
#: A statement along all running tasks that takes longer is repeated seldom, so that it takes at most this share of the
#: time.
LONG_SECONDS, MAX_SHARE = 0.02, 0.02


class _Thread(threading.local):
    """When this thread reads all running tasks again, on the monotonic clock."""

    all_at = 0.0


_thread = _Thread()


def due_work(node: str, full: bool) -> DueWork:
    """See Store."""
    begun = time.monotonic()
    of_all = begun >= _thread.all_at
    [(now, next_due, holders, *rest)] = prepared((STATEMENTS if of_all else BY_NAMES)[full], (node,))
    took = time.monotonic() - begun
    if of_all and took > LONG_SECONDS:
        _thread.all_at = begun + took / MAX_SHARE
    found = [*rest[:-2], _on_hold(*rest[-2:])] if full else []
    return DueWork(now, next_due, tuple(json.loads(holders or "[]")), *found)


def on_hold(node: str) -> OnHold:
    """See Store."""
    [row] = prepared(READ_ON_HOLD, (node,))
    return _on_hold(*row)


def _on_hold(handlers: str | None, drained: bool) -> OnHold:
    return OnHold(frozenset(json.loads(handlers or "[]")), drained)
