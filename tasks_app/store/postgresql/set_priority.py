"""Change the priority of many on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.postgresql.json_rows import json_rows

SET_PRIORITY = f"""
UPDATE taskdaemon_task AS task
SET priority = $2::int, place = coalesce(changed.place, task.place)
FROM {json_rows("id uuid, place bigint", "changed")}
WHERE task.id = changed.id AND coalesce(task.status) = 'pending'
RETURNING task.id
"""


def set_priority(rows: Sequence[tuple[UUID, int | None]], priority: int) -> set[UUID]:
    """See Store."""
    text = json.dumps([{"id": str(identity), "place": place} for identity, place in rows])
    return {identity for (identity,) in prepared(SET_PRIORITY, (text, priority))}
