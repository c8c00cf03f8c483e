"""The SQLite database, and a foreign lock on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


class Sqlite:
    """A database file, without a server that could crash."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.crashes: list[tuple[float, float]] = []

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the write lock without taking a turn."""
        # A process that is frozen while it has the lock keeps it until it goes on.
        with closing(sqlite3.connect(self.path, timeout=120, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Nothing to close."""
