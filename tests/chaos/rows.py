"""The rows in the checker's form, from either database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from tests.chaos.values import short

#: A value with more characters is read by itself, and kept in its short form.
LARGE_COLUMNS, LARGE_CHARACTERS = ("task_data", "result"), 10_000
#: Columns of moments, beside those that end in `_at`.
MOMENTS = ("scheduled_for", "until")


class Database(Protocol):
    """Either database."""

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query, by column."""


def tasks(database: Database, table: str = "taskdaemon_task", *more: str) -> dict[str, dict[str, Any]]:
    """Every task's row by id, with `more` columns; moments are seconds of the wall clock."""
    rows = database.rows(
        f"SELECT id, task_type, {_unless_large('task_data')}, {_unless_large('result')}, priority, place AS position,"
        f" status, attempts, retries, schedule, scheduled_for, callback_url, {''.join(f'{name}, ' for name in more)}"
        f" failure_reason, last_error, node, created_at, started_at, completed_at FROM {table}"
    )
    for row in rows:  # one by one: all large values together would take gigabytes
        for name in LARGE_COLUMNS:
            if row.pop(f"{name}_is_large"):
                [value] = database.rows(f"SELECT {name} FROM {table} WHERE id = '{row['id']}'")
                row[name] = short(as_json(value[name]))
    return {str(UUID(str(row["id"]))): _plain(row) for row in rows}


def _unless_large(name: str) -> str:
    large = f"coalesce(length(CAST({name} AS text)) > {LARGE_CHARACTERS}, false)"
    return f"CASE WHEN {large} THEN NULL ELSE {name} END AS {name}, {large} AS {name}_is_large"


def attempts(database: Database, table: str = "taskdaemon_attempt") -> list[dict[str, Any]]:
    """Every attempt's row."""
    rows = database.rows(
        f"SELECT task_id, number, node, container, started_at, ended_at, outcome, error, wait_seconds FROM {table}"
    )
    return [_plain(row) for row in rows]


def operations(database: Database) -> dict[str, dict[str, Any]]:
    """Every operation's row by id."""
    found = database.rows("SELECT id, verb, state, matched, done, skipped, failed FROM taskdaemon_operation")
    return {str(UUID(str(row["id"]))): {**_plain(row), "skipped": as_json(row["skipped"])} for row in found}


def firings(database: Database) -> list[dict[str, Any]]:
    """The ledger of schedules."""
    found = database.rows(
        'SELECT schedule, scheduled_for, outcome, at AS decided_at, task AS task_id, reason, until, count, "by"'
        " FROM taskdaemon_schedule_firing"
    )
    return [_plain(row) for row in found]


def as_json(value: Any) -> Any:
    """The value of a JSON column, which PostgreSQL's driver has parsed already."""
    return json.loads(value) if isinstance(value, str) else value


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row with moments as seconds, ids as text, and parsed JSON."""
    plain = {}
    for name, value in row.items():
        if (name.endswith("_at") or name in MOMENTS) and value is not None:
            moment = datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value
            plain[name] = moment.timestamp()
        elif name in LARGE_COLUMNS:
            plain[name] = as_json(value)
        else:
            plain[name] = str(UUID(str(value))) if name in ("id", "task_id") and value is not None else value
    return plain
