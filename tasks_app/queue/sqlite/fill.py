"""Fill on SQLite: the best held tasks of keys. A write transaction is alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from uuid import UUID

from tasks_app.queue.attempt import Selection
from tasks_app.queue.rooms import HeldRow, Room
from tasks_app.queue.sql import ORDER
from tasks_app.queue.sqlite.session import read


@cache
def best_held_statement(order: Selection) -> str:
    """:type and :key, :tasks the most rows."""
    return f"""
SELECT priority, place, task_id FROM taskdaemon_held_task WHERE task_type = :type AND limit_key = :key
ORDER BY {ORDER[order]} LIMIT :tasks
"""


def alone_filling() -> None:
    pass


def best_held(rooms: Sequence[Room], order: Selection, limit: int) -> list[HeldRow]:
    found = [
        (priority, place, HeldRow(UUID(identity), room.task_type, room.limit_key))
        for room in rooms
        for priority, place, identity in read(
            best_held_statement(order), {"type": room.task_type, "key": room.limit_key, "tasks": min(room.tasks, limit)}
        )
    ]
    ranks = {"fifo": lambda row: row[1], "lifo": lambda row: -row[1], "priority": lambda row: (-row[0], row[1])}
    return [row for _, _, row in sorted(found, key=ranks[order])[:limit]]
