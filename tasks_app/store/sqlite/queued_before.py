"""How many ready tasks come before one, on SQLite."""

from __future__ import annotations

from django.db import connection

from tasks_app.store.claimed_task import Selection
from tasks_app.store.sql import NOT_EXPIRED, READY
from tasks_app.store.sqlite.due_work import WALL

_ROWS = f"{READY} AND task_type = :type AND {NOT_EXPIRED.format(wall=WALL)}"
#: What comes before a task, in ranges of the order's index: which rows, and how it is read from that task backwards.
RANGES: dict[Selection, tuple[tuple[str, str], ...]] = {
    "fifo": (("place < :position", "place DESC"),),
    "lifo": (("place > :position", "place"),),
    "priority": (
        ("priority = :priority AND place < :position", "place DESC"),
        ("priority > :priority", "priority, place DESC"),
    ),
}


def statement(order: Selection) -> str:
    """The query for one order."""
    ranges = " UNION ALL ".join(
        f"SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE {_ROWS} AND {which} ORDER BY {by} LIMIT :limit)"
        for which, by in RANGES[order]
    )
    return f"SELECT count(*) FROM (SELECT * FROM ({ranges}) LIMIT :limit)"


def queued_before(task_type: str, priority: int, position: int, order: Selection, limit: int) -> int:
    """See Store."""
    bound = {"type": task_type, "priority": priority, "position": position, "limit": limit}
    with connection.wrap_database_errors:
        connection.ensure_connection()
        [(found,)] = connection.connection.execute(statement(order), bound).fetchall()
    return int(found)
