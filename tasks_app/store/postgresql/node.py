"""A node's row on PostgreSQL. Plain SQL: through the ORM this took a third of an idle node's CPU time."""

from __future__ import annotations

import json
from typing import Any

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.postgresql.transactions import bare_writing

UPDATE_NODE = """
UPDATE taskdaemon_node SET pools = $1::jsonb, draining = $2::int::boolean, problems = $3::jsonb, stopped_at = NULL,
  seen_at = clock_timestamp(), seen = extract(epoch from clock_timestamp())::float8, clock = 'server'
WHERE name = $4 RETURNING 1
"""


def update_node(name: str, pools: dict[str, Any], draining: bool, problems: list[str]) -> bool:
    """See Store."""
    values = (json.dumps(pools), int(draining), json.dumps(problems), name)
    with bare_writing(one_statement=True):
        return bool(prepared(UPDATE_NODE, values))
