"""The embedded database, and a stranger who writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


class Sqlite:
    """A file. It has no server that could crash."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"
        self.crashes: list[tuple[float, float]] = []

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query finds."""
        with closing(sqlite3.connect(self._path, timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody holds the lock of writers, and asks nobody."""
        with closing(sqlite3.connect(self._path, timeout=20, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Nothing to end."""
