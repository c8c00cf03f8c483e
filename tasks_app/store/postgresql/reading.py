"""The reading of counters and queues on PostgreSQL."""

from __future__ import annotations

from typing import Any

from django.db import connection

from tasks_app.store import sql
from tasks_app.store.postgresql.counters import PARTS

READING = sql.READING.format(counters=PARTS, age="(extract(epoch from clock_timestamp() - min(ready_at)))::float8")


def reading() -> list[tuple[Any, ...]]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(READING)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
