"""psycopg itself, by way of Django: where the database is SQLite the driver is not even imported (10 MB)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections


def own_cursor() -> Any:
    """A context: unlike Django's cursor it can have a statement prepared. Raises DatabaseError."""
    here: Any = connections["default"]
    here.ensure_connection()
    return here.Database.Cursor(here.connection)


def prepared(sql: str, values: Sequence[str | int | float]) -> list[tuple[Any, ...]]:
    """The rows of a statement of the hot path (see `Bounded.prepared`). Raises DatabaseError."""
    here: Any = connections["default"]
    with here.wrap_database_errors:
        here.ensure_connection()
        rows: list[tuple[Any, ...]] = here.connection.prepared(sql, values)
        return rows


class Underway:
    """A statement of the hot path that was sent, and whose answer may be waited for beside other things.

    Until `rows`, nothing else may be asked of this thread's connection. Both may raise DatabaseError.
    """

    def __init__(self, sql: str, values: Sequence[str | int | float]) -> None:
        self._here: Any = connections["default"]
        with self._here.wrap_database_errors:
            self._here.ensure_connection()
            self._raw = self._here.connection
            self.until: float = self._raw.begin(sql, values)
            """When the server has had its time, on the monotonic clock."""

    def fileno(self) -> int:
        """What is readable when there is more of its answer."""
        number: int = self._raw.fileno()
        return number

    def arrived(self) -> bool:
        """Whether `rows` need not wait: the answer is there, or the server has had its time."""
        with self._here.wrap_database_errors:
            there: bool = self._raw.arrived()
            return there

    def rows(self) -> list[tuple[Any, ...]]:
        """Its rows, waited for if need be."""
        with self._here.wrap_database_errors:
            rows: list[tuple[Any, ...]] = self._raw.finish()
            return rows
