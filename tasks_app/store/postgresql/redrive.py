"""Redrive many on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.postgresql.json_rows import json_rows

# coalesce() keeps the planner from the partial index of failed tasks: each task is read by its key.
REDRIVE = f"""
UPDATE taskdaemon_task AS task
SET status = 'pending', place = again.place, retries = 0, failure_reason = NULL, failure_group = NULL,
  completed_at = NULL, due = NULL, due_at = NULL, expires_at = NULL, ready_at = clock_timestamp()
FROM {json_rows("id uuid, place bigint", "again")}
WHERE task.id = again.id AND coalesce(task.status) = 'failed'
RETURNING task.id
"""


def redrive(rows: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """See Store."""
    text = json.dumps([{"id": str(identity), "place": place} for identity, place in rows])
    return {identity for (identity,) in prepared(REDRIVE, (text,))}
