"""The rows in the checker's form, from either database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID


class Database(Protocol):
    """Either database."""

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query, by column."""


def tasks(database: Database, table: str = "taskdaemon_task", *more: str) -> dict[str, dict[str, Any]]:
    """Every task's row by id, with `more` columns; moments are seconds of the wall clock."""
    rows = database.rows(
        "SELECT id, task_type, task_data, priority, place AS position, status, attempts, retries, result,"
        f" {''.join(f'{name}, ' for name in more)}"
        f" failure_reason, last_error, node, created_at, started_at, completed_at FROM {table}"
    )
    return {str(UUID(str(row["id"]))): _plain(row) for row in rows}


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


def as_json(value: Any) -> Any:
    """The value of a JSON column, which PostgreSQL's driver has parsed already."""
    return json.loads(value) if isinstance(value, str) else value


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row with moments as seconds, ids as text, and parsed JSON."""
    plain = {}
    for name, value in row.items():
        if name.endswith("_at") and value is not None:
            moment = datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value
            plain[name] = moment.timestamp()
        elif name in ("task_data", "result"):
            plain[name] = as_json(value)
        else:
            plain[name] = str(UUID(str(value))) if name in ("id", "task_id") else value
    return plain
