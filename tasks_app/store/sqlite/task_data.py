"""The data of one task on SQLite."""

from __future__ import annotations

from uuid import UUID

from django.db import connection


def task_data(task_id: str, limit: int) -> tuple[int, str | None] | None:
    """See Store."""
    with connection.wrap_database_errors:
        connection.ensure_connection()
        rows = connection.connection.execute("SELECT task_data FROM taskdaemon_task WHERE id = ?", (UUID(task_id).hex,))
        found = rows.fetchone()
    if found is None:
        return None
    size = len(found[0].encode())
    return size, found[0] if size <= limit else None
