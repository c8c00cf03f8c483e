"""The reading of counters and queues on SQLite."""

from __future__ import annotations

from typing import Any

from django.db import connection

from tasks_app.store import sql

READING = sql.READING.format(
    counters="taskdaemon_counter", age="(julianday('now') - julianday(min(ready_at))) * 86400.0"
)


def reading() -> list[tuple[Any, ...]]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(READING)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
