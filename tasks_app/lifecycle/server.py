"""psycopg itself, by way of Django: where the database is SQLite the driver is not even imported (10 MB)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections


def prepared(sql: str, values: Sequence[str | int | float]) -> list[tuple[Any, ...]]:
    """The rows of a statement of the hot path (see `Bounded.prepared`). Raises DatabaseError."""
    here: Any = connections["default"]
    with here.wrap_database_errors:
        here.ensure_connection()
        rows: list[tuple[Any, ...]] = here.connection.prepared(sql, values)
        return rows
