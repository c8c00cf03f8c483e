"""Where the rows of a test's deployment are: a SQLite file, or a database of its own on the leg's server."""

from __future__ import annotations

import os
import secrets
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import psycopg
from psycopg.adapt import Loader
from psycopg.rows import dict_row


class Store(Protocol):
    """Reads and writes past everything else. Rows are as SQLite has them: ids as 32 hex digits, JSON as text."""

    #: What tells the platform's processes where it is.
    environment: dict[str, str]
    #: What to select each counter's parts from, as (series, value).
    counters: str

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What the database says. `?` stands for a value."""

    def execute(self, statement: str, *values: object) -> None:
        """Change something behind everybody's back."""

    def fill(self, migrated: Any) -> None:
        """Become a copy of a store of the same kind, as a deployment with an id of its own. Neither may be in use."""

    def drop(self) -> None:
        """Leave nothing on a server."""


class SQLiteStore:
    """A file in a home."""

    counters = "taskdaemon_counter"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment: dict[str, str] = {}

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def execute(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection, connection:
            connection.execute(statement, values)

    def fill(self, migrated: SQLiteStore) -> None:
        with closing(sqlite3.connect(migrated.path)) as source, closing(sqlite3.connect(self.path)) as copy:
            source.backup(copy)
        self.execute("UPDATE taskdaemon_deployment SET id = ?", uuid.uuid4().hex)

    def drop(self) -> None:
        """It goes with its home."""


class _Hex(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode().replace("-", "")


class _Text(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode()


class PostgreSQLStore:
    """A database on the server of a URL; its name begins as that of the URL's own database. Empty until filled."""

    counters = (
        "(SELECT series, value FROM taskdaemon_counter UNION ALL SELECT part.key, part.value::bigint"
        " FROM taskdaemon_counter_delta, json_each_text(counts::json) AS part) AS counters"
    )

    def __init__(self, server: str, encoding: str = "UTF8") -> None:
        base, _, name = server.rpartition("/")
        self._admin, self.name = f"{base}/postgres", f"{name}_{secrets.token_hex(6)}"
        self.url = f"{base}/{self.name}"
        self.environment = {"DATABASE_URL": self.url, "DAEMON_SECRET_KEY": secrets.token_urlsafe(48)}
        self._lock = Lock()
        self._session: psycopg.Connection[dict[str, Any]] | None = None
        self._on_server(f"CREATE DATABASE {self.name} ENCODING '{encoding}' TEMPLATE template0")

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        return self._run(query, values).fetchall()

    def execute(self, statement: str, *values: object) -> None:
        self._run(statement, values)

    def fill(self, migrated: PostgreSQLStore) -> None:
        migrated._close()
        self.drop()
        self._on_server(f"CREATE DATABASE {self.name} TEMPLATE {migrated.name}")
        self.execute("UPDATE taskdaemon_deployment SET id = ?", uuid.uuid4())

    def drop(self) -> None:
        self._close()
        self._on_server(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    def _run(self, query: str, values: tuple[object, ...]) -> psycopg.Cursor[dict[str, Any]]:
        """On one session, which is made anew if its server ended it: a session costs the server milliseconds."""
        statement = _psycopg(query)
        with self._lock:
            if self._session is not None:
                try:
                    return self._session.execute(statement, values)
                except psycopg.OperationalError:
                    if not self._session.closed:
                        raise
            self._session = psycopg.connect(self.url, autocommit=True, row_factory=dict_row, prepare_threshold=None)
            self._session.adapters.register_loader("uuid", _Hex)
            self._session.adapters.register_loader("jsonb", _Text)
            return self._session.execute(statement, values)

    def _close(self) -> None:
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def _on_server(self, statement: str) -> None:
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(statement.encode())


def _psycopg(query: str) -> bytes:
    return query.replace("%", "%%").replace("?", "%s").encode()


def make_store(home: Path) -> Store:
    """What the leg says (DATABASE_URL of the tests): a new database on that server, else a file in the home."""
    server = os.environ.get("DATABASE_URL", "")
    return PostgreSQLStore(server) if server.startswith("postgres") else SQLiteStore(home / "taskdaemon.sqlite3")
