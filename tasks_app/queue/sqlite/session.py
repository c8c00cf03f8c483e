"""A session of SQLite: its statements, its clock, its limits, and what is said of the database as a whole.

The clock is this host's monotonic one. It stands still while the host, and so every node, is suspended.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Value

from tasks_app.db.node_lock import boot_id
from tasks_app.db.sqlite.write_lock import bare_writing
from tasks_app.queue.store import DatabaseRefusal, Fault, value_refusal


def read(statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of a statement, past Django's cursor, which rewrites the placeholders at every call."""
    database = connections[DEFAULT_DB_ALIAS]  # each use of `connection` looks it up again
    with database.wrap_database_errors:
        database.ensure_connection()
        rows: list[tuple[Any, ...]] = database.connection.execute(statement, values).fetchall()
        return rows


def stored(moment: datetime) -> str:
    """A moment as SQLite stores it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


# The clock.

elapsed = seconds = time.monotonic


def clock_id() -> str:
    return boot_id()


def moment() -> tuple[float, datetime]:
    return seconds(), datetime.now(UTC)


def now() -> Value:
    return Value(seconds())


# Statements have no time limit; only a wait for the write lock has one. A node's connections need no settings.


def limited(seconds: float) -> AbstractContextManager[None]:
    return nullcontext()


extended = limited


def unlimited() -> AbstractContextManager[None]:
    return nullcontext()


class Session:
    """`bare_writing` makes a commit that need not be durable."""

    def __init__(self, durable: bool = True) -> None:
        pass

    def configure(self) -> None:
        pass


# A node's row. Plain SQL: through the ORM this took a third of an idle node's CPU time.

UPDATE_NODE = """
UPDATE taskdaemon_node SET pools = ?1, draining = ?2, problems = ?3, stopped_at = NULL,
  seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?5, clock = ?6
WHERE name = ?4 RETURNING 1
"""


def update_node(name: str, pools: dict[str, Any], draining: bool, problems: list[str]) -> bool:
    values = (json.dumps(pools), int(draining), json.dumps(problems), name)
    with bare_writing(one_statement=True):
        return bool(read(UPDATE_NODE, (*values, elapsed(), clock_id())))


# The database as a whole.


def maintain(ending: bool = False) -> set[str]:
    """There is nothing to do: a reader's snapshot keeps no dead rows in the tables."""
    return set()


def problem() -> str | None:
    return None


def refusal(error: Exception) -> DatabaseRefusal | None:
    """SQLite has no limit of time, so it refuses values only."""
    return value_refusal(error)


def fault() -> Fault | None:
    """E002: a SQLite without RETURNING."""
    if sqlite3.sqlite_version_info >= (3, 35):
        return None
    return Fault(
        "E002",
        f"SQLite {sqlite3.sqlite_version} has no RETURNING",
        "Use a Python with SQLite 3.35 or newer, or set DATABASE_URL to a PostgreSQL.",
    )


def where() -> str:
    return f"sqlite {connection.settings_dict['NAME']}"
