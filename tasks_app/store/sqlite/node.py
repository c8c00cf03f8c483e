"""A node's row on SQLite. Plain SQL: through the ORM this took a third of an idle node's CPU time."""

from __future__ import annotations

import json
from typing import Any

from django.db import connection

from tasks_app.db.sqlite.write_lock import bare_writing
from tasks_app.store.sqlite import clock

UPDATE_NODE = """
UPDATE taskdaemon_node SET pools = ?1, draining = ?2, problems = ?3, stopped_at = NULL,
  seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?5, clock = ?6
WHERE name = ?4 RETURNING 1
"""


def update_node(name: str, pools: dict[str, Any], draining: bool, problems: list[str]) -> bool:
    """See Store."""
    values = (json.dumps(pools), int(draining), json.dumps(problems), name)
    with bare_writing(one_statement=True):
        bound = (*values, clock.elapsed(), clock.clock_id())
        return bool(connection.connection.execute(UPDATE_NODE, bound).fetchall())
