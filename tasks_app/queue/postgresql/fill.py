"""Fill on PostgreSQL: the lock of the fills, and the best held tasks of keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import Selection
from tasks_app.queue.postgresql.moves import json_rows
from tasks_app.queue.rooms import HeldRow, Room
from tasks_app.queue.sql import ORDER

#: The numbers are arbitrary; `moves` has (7468, 3).
ALONE = "SELECT pg_advisory_xact_lock(7468, 4)"


@cache
def best_held_statement(order: Selection) -> str:
    """$1 the keys with their room as JSON, $2 the most rows in all."""
    return f"""
SELECT best.task_id, best.task_type, best.limit_key
FROM {json_rows("type text, key text, tasks int", "room")}
CROSS JOIN LATERAL (
  SELECT * FROM taskdaemon_held_task WHERE task_type = room.type AND limit_key = room.key
  ORDER BY {ORDER[order]} LIMIT room.tasks
) AS best
ORDER BY {ORDER[order]} LIMIT $2::int
"""


def alone_filling() -> None:
    prepared(ALONE, ())


def best_held(rooms: Sequence[Room], order: Selection, limit: int) -> list[HeldRow]:
    text = json.dumps([{"type": room.task_type, "key": room.limit_key, "tasks": room.tasks} for room in rooms])
    return [HeldRow(*row) for row in prepared(best_held_statement(order), (text, limit))]
