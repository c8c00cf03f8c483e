"""look: whether there is anything to do for a heartbeat, in one statement. The verbs look again before they move a row.

A node asks this every second or, alone with nothing to do, every five; and through the ORM it would be ten statements.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple

from django.db import connection

from tasks_app import clock
from tasks_app.lifecycle.rescue import LONGEST
from tasks_app.lifecycle.server import prepared

#: Days for which the row of a node that has stopped is kept. A container that it left behind is known by it: on an
#: engine that no node of the deployment came near meanwhile, nobody removes it any more.
KEPT = 30

# Each goes along an index, literally as in its condition, and reads one row: what waits longest is compared, so that
# those whose time has not come are not read. Ordered, or PostgreSQL reads the table in the hope of meeting one soon.
_OFTEN = """
SELECT {now},
  (SELECT due FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock = {clock} ORDER BY due LIMIT 1),
  (SELECT {array} FROM (SELECT DISTINCT node FROM taskdaemon_task
    WHERE status = 'processing' AND node <> {node} ORDER BY node) AS holder)
"""
_SELDOM = (
    _OFTEN.rstrip()
    + """,
  EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock < {clock} AND due_at <= {wall} ORDER BY clock LIMIT 1) AS a)
  OR EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock > {clock} AND due_at <= {wall} ORDER BY clock LIMIT 1) AS b),
  EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'processing' AND (lease < {now} OR lease > {now} + {longest} OR clock <> {clock})
    ORDER BY node LIMIT 1) AS c),
  coalesce((SELECT expires_at FROM taskdaemon_task
    WHERE status = 'pending' AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1) <= {wall}, {no}),
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at IS NULL AND name <> {node}),
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at < {kept})
"""
)
_WORDS = {
    "postgresql": {
        "now": "extract(epoch from clock_timestamp())::float8",
        "wall": "clock_timestamp()",
        "kept": f"clock_timestamp() - interval '{KEPT} days'",
        "clock": "'server'",
        "node": "$1::text",
        "array": "json_agg(node)::text",
        "no": "false",
    },
    "sqlite": {
        "now": ":now",
        "wall": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
        "kept": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{KEPT} days')",
        "clock": ":clock",
        "node": ":node",
        "array": "json_group_array(node)",
        "no": "0",
    },
}


class Look(NamedTuple):
    """`reading`: seconds on the clock. `others`: the other nodes that hold tasks. The rest: whether there is one."""

    reading: float
    #: When the first of the waiting rows is due, on the same clock.
    soonest: float | None = None
    others: tuple[str, ...] = ()
    #: A waiting row whose time has come, measured on the clock of an earlier boot.
    due_elsewhere: bool = False
    #: A running row whose lease is over, or means nothing.
    lost: bool = False
    #: A pending row that nobody started in time.
    expired: bool = False
    #: Another node that has not said that it ended.
    company: bool = False
    #: The row of a node that stopped long ago.
    forgotten: bool = False

    @property
    def due(self) -> bool:
        """Whether there is a waiting row whose time has come."""
        return self.soonest is not None and self.soonest <= self.reading


def look(node: str, seldom: bool = True) -> Look:
    """What there is to do for the heartbeat of `node`. Not `seldom`: the first three alone. Raises DatabaseError."""
    if connection.vendor == "postgresql":
        [row] = prepared(statement("postgresql", seldom), (node,))
    else:
        bound = {"now": clock.reading(), "clock": clock.clock_id(), "node": node}
        with connection.wrap_database_errors:
            connection.ensure_connection()
            [row] = connection.connection.execute(statement("sqlite", seldom), bound).fetchall()
    reading, soonest, others, *rest = row
    return Look(reading, soonest, tuple(json.loads(others or "[]")), *map(bool, rest))


@cache
def statement(vendor: str, seldom: bool) -> str:
    """What is sent to a database of that kind."""
    words: dict[str, Any] = {**_WORDS[vendor], "longest": 2 * LONGEST}
    return (_SELDOM if seldom else _OFTEN).format(**words)
