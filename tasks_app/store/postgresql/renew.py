"""Renew on PostgreSQL: one round trip, so that a slow network costs no lease."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.postgresql.json_rows import json_rows
from tasks_app.store.postgresql.transactions import bare_writing

_NOW = "extract(epoch from clock_timestamp())::float8"
# Only a running task has a node. LATERAL with a lock is not turned into a join, so each task is looked up by its key.
# SKIP LOCKED: a settle may lock the same rows in another order, and a drain the node's row.
RENEW = f"""
WITH alive AS (
  UPDATE taskdaemon_node SET seen_at = clock_timestamp(), seen = {_NOW}, clock = 'server'
  WHERE name = (SELECT name FROM taskdaemon_node WHERE name = $2::text FOR NO KEY UPDATE SKIP LOCKED)
), kept AS (
  SELECT listed.id, listed.lease FROM {json_rows("id uuid, lease float8", "listed")}
  CROSS JOIN LATERAL (
    SELECT FROM taskdaemon_task AS task WHERE task.id = listed.id AND task.node = $2::text
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS running
)
UPDATE taskdaemon_task AS task SET lease = {_NOW} + kept.lease, clock = 'server'
FROM kept WHERE task.id = kept.id
RETURNING task.id::text, task.attempts
"""


def renew(node: str, leases: Mapping[str, float]) -> set[tuple[str, int]]:
    """See Store."""
    text = json.dumps([{"id": identity, "lease": seconds} for identity, seconds in leases.items()])
    with bare_writing(one_statement=True):
        return {(row[0], row[1]) for row in prepared(RENEW, (text, node))}
