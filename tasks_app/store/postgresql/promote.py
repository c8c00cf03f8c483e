"""Promote on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.postgresql.json_rows import json_rows

PROMOTE = f"""
UPDATE taskdaemon_task AS task
SET due = NULL, due_at = NULL, ready_at = clock_timestamp(), place = coalesce(ready.place, task.place)
FROM {json_rows("id uuid, place bigint", "ready")}
WHERE task.id = ready.id AND coalesce(task.status) = 'pending' AND coalesce(task.due) IS NOT NULL
"""


def promote(rows: Sequence[tuple[UUID, int | None]]) -> None:
    """See Store."""
    prepared(PROMOTE, (json.dumps([{"id": str(identity), "place": place} for identity, place in rows]),))
