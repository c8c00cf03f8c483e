"""The reading of counters and queues on SQLite."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection

from tasks_app.store import sql

#: All running tasks, along their index.
RUNS = "SELECT id, task_type, node FROM taskdaemon_task WHERE status = 'processing'"
READING = sql.READING.format(
    counters="taskdaemon_counter", age="(julianday('now') - julianday(min(ready_at))) * 86400.0", running=RUNS
)


def reading() -> list[tuple[Any, ...]]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(READING)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def running() -> list[tuple[UUID, str, str]]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(RUNS)
        return [(UUID(identity), name, node) for identity, name, node in cursor.fetchall()]
