"""psycopg's own cursor, by way of Django: where the database is SQLite the driver is not even imported (10 MB)."""

from __future__ import annotations

from typing import Any

from django.db import connections


def own_cursor() -> Any:
    """A context: unlike Django's cursor it can have a statement prepared. Raises DatabaseError."""
    here: Any = connections["default"]
    here.ensure_connection()
    return here.Database.Cursor(here.connection)
