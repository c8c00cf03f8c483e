"""Prepared statements through Django's connection. Does not import psycopg, which takes 10 MB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections


def prepared(sql: str, values: Sequence[str | int | float]) -> list[tuple[Any, ...]]:
    """The rows of a frequent statement (see `TimeoutConnection.prepared`). Raises DatabaseError."""
    here: Any = connections["default"]
    with here.wrap_database_errors:
        here.ensure_connection()
        rows: list[tuple[Any, ...]] = here.connection.prepared(sql, values)
        return rows
