"""The rows that retention removed: triggers keep a copy of each deleted row, and when it was deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import psycopg

from testkit.servers.postgresql import Postgres
from tests.chaos.evidence import FINAL, Evidence
from tests.chaos.rows import Database, attempts, tasks
from tests.chaos.sqlite import Sqlite

#: Clocks of a database have milliseconds at best.
ROUNDING_SECONDS = 0.01
_TABLES = {"task": "taskdaemon_task", "attempt": "taskdaemon_attempt"}


def keep_removed(database: Postgres | Sqlite) -> None:
    """Make the triggers."""
    if isinstance(database, Postgres):
        with psycopg.connect(database.url) as server:
            for name, table in _TABLES.items():
                server.execute(
                    f"CREATE TABLE removed_{name} AS SELECT *, now() AS removed_at FROM {table} WHERE false;"
                    f"CREATE FUNCTION keep_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                    f" INSERT INTO removed_{name} SELECT OLD.*, clock_timestamp(); RETURN NULL; END $$;"
                    f"CREATE TRIGGER keep_{name} AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION keep_{name}()"
                )
        return
    with closing(sqlite3.connect(database.path, timeout=20)) as file:
        for name, table in _TABLES.items():
            columns = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
            old = ", ".join(f"OLD.{column}" for column in columns)
            now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
            file.executescript(
                f"CREATE TABLE removed_{name} AS SELECT *, '' AS removed_at FROM {table} WHERE 0;"
                f"CREATE TRIGGER keep_{name} AFTER DELETE ON {table} BEGIN"
                f" INSERT INTO removed_{name} VALUES ({old}, {now}); END;"
            )


def removed_tasks(database: Database) -> dict[str, dict[str, Any]]:
    """Every deleted task's row by id, with `removed_at`."""
    return tasks(database, "removed_task", "removed_at")


def removed_attempts(database: Database) -> list[dict[str, Any]]:
    """Every deleted attempt's row."""
    return attempts(database, "removed_attempt")


def by_retention(removed: Mapping[str, dict[str, Any]], journal: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the deleted rows those that no client asked to delete."""
    asked = {line["task"] for line in journal if line["what"] == "delete"}
    return {task: row for task, row in removed.items() if task not in asked}


def retention_faults(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Only final rows that are older than they are kept vanish: (task, what is wrong)."""
    for task, row in evidence.tasks.items():
        if (removed_at := row.get("removed_at")) is None:
            continue
        if evidence.retention is None:
            yield task, "was removed, and no client asked for that"
        elif row["status"] not in FINAL:
            yield task, f"was removed while it was {row['status']}"
        elif (kept := removed_at - row["completed_at"]) < evidence.retention - ROUNDING_SECONDS:
            yield task, f"was removed {kept:.3f} s after its end, and is kept for {evidence.retention:g} s"
