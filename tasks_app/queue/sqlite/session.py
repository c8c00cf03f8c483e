"""A session of SQLite: its statements, its clock, its limits, and the sentences about the database and its errors.

The clock is this host's monotonic one. It stands still while the host, and so every node, is suspended.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Value

from tasks_app.conf import ours
from tasks_app.db.node_lock import boot_id
from tasks_app.db.sqlite.write_lock import bare_writing
from tasks_app.db.write_health import first_line, is_full
from tasks_app.queue.attempt import Selection
from tasks_app.queue.store import Fault, value_refusal


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
clock_id = boot_id


def held_clock() -> str:
    """Sorts behind the name of every boot: held rows are in no range of the rows of earlier boots."""
    return "~"


#: Two readings that are this close are of one moment, and tries to get there: this thread may have to wait in between.
MOMENT_SECONDS, MOMENT_TRIES = 20e-6, 5


def moment() -> tuple[float, datetime]:
    readings = []
    for _ in range(MOMENT_TRIES):
        before, wall, after = seconds(), datetime.now(UTC), seconds()
        readings.append((after - before, (before + after) / 2, wall))
        if after - before <= MOMENT_SECONDS:
            break
    _, at, wall = min(readings)
    return at, wall


def now() -> Value:
    return Value(seconds())


# Statements have no time limit; only a wait for the write lock has one. A node's connections need no settings.


def limited(seconds: float | None) -> AbstractContextManager[None]:
    return nullcontext()


extended = limited


def configure_session(durable: bool = True) -> None:
    """`bare_writing` makes a commit that need not be durable."""


def claiming(order: Selection) -> AbstractContextManager[None]:
    """A reader's snapshot keeps no dead rows, so a claim reads none."""
    return nullcontext()


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


def maintain() -> set[str]:
    """There is nothing to do: a reader's snapshot keeps no dead rows in the tables."""
    return set()


def problem() -> str | None:
    return None


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


# The meaning of the file's errors: for the verbs, and for an operator, with the remedy.

#: A database cannot be opened with less room on its disk.
LEAST_BYTES = 64 * 1024
ANOTHER_FILE = "set DAEMON_DB_PATH (or DATABASE_URL) to another file"

#: SQLite has no limit of time, so it refuses values only.
refusal = value_refusal


def lacks_tables(error: BaseException) -> bool:
    text = str(error)
    return text.startswith(("no such table", "no such column")) or "has no column named" in text


def advice(error: Exception) -> str:
    reason, file = first_line(error), Path(connection.settings_dict["NAME"])
    if lacks_tables(error):
        return f"the database does not have all its tables ({reason}): run {ours('prepare')}"
    if not file.parent.is_dir():
        return f"the database cannot be opened: there is no folder {file.parent}; create it, or {ANOTHER_FILE}"
    # Without room for its log, SQLite says no more than "disk I/O error".
    if is_full(reason) or (reason == "disk I/O error" and shutil.disk_usage(file.parent).free < LEAST_BYTES):
        return f"the disk of {file} is full ({reason}): make room on it"
    if "unable to open" in reason:
        return f"the database {file} cannot be opened: let this user write to it and its folder, or {ANOTHER_FILE}"
    if "readonly" in reason:
        return f"the database {file} cannot be written ({reason}): let this user write to it and its folder"
    if "not a database" in reason or "malformed" in reason:
        return f"{file} is not a database of SQLite, or is damaged ({reason}): restore a backup, or {ANOTHER_FILE}"
    return f"the database cannot be used: {reason}"
