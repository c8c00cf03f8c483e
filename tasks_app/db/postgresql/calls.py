"""Calls to the server: how long one may take, what its errors mean, and which servers and poolers are refused.

Does not import psycopg, which takes 10 MB and which a process on SQLite has not loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections

#: A little more than the server's `statement_timeout`, so that a server that works reports its own error first and the
#: connection stays usable.
CALL_LIMIT_SECONDS = 11.0
#: SQLSTATE of a write in a read-only transaction: on a standby, on a demoted primary, or on a server that its provider
#: made read-only because its disk is full. Then the SQLSTATE of a full disk.
READ_ONLY, DISK_FULL = "25006", "53100"
#: How often two sessions are compared: on a busy pool they may differ by chance.
SESSION_CHECKS = 10
REFUSAL = (
    "a pooler gives each transaction another session (PgBouncer's pool_mode = transaction): the settings of one "
    "process's session would apply to other processes, and an accepted task could be lost in a power cut. Use "
    "pool_mode = session, or no pooler (docs/operations.md)"
)


class _Limit(threading.local):
    seconds: float | None = CALL_LIMIT_SECONDS


call_limit = _Limit()


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Within the block, limit each call of this thread to this many seconds; None: no limit."""
    before, call_limit.seconds = call_limit.seconds, seconds
    try:
        yield
    finally:
        call_limit.seconds = before


def prepared(sql: str, values: Sequence[str | int | float]) -> list[tuple[Any, ...]]:
    """The rows of a frequent statement (see `TimeoutConnection.prepared`). Raises DatabaseError."""
    here: Any = connections["default"]
    with here.wrap_database_errors:
        here.ensure_connection()
        rows: list[tuple[Any, ...]] = here.connection.prepared(sql, values)
        return rows


def is_refused_write(error: object) -> bool:
    """Whether this is psycopg's error for a refused write, which may be an InternalError and would look like a bug.

    False if the error ends the session: without room for its log the server stops within a commit, which may be stored.
    """
    return getattr(error, "sqlstate", None) in (READ_ONLY, DISK_FULL) and not ends_session(error)


def ends_session(error: object) -> bool:
    """Whether the server ends the session with this error."""
    return getattr(getattr(error, "diag", None), "severity_nonlocalized", None) in ("FATAL", "PANIC")


def encoding_fault(connection: Any) -> str | None:
    """Why the database of an open psycopg connection cannot store every JSON text; None if it can.

    Sends no query: the server reports its encoding at the start of a connection.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding in (None, "UTF8"):
        return None
    name = connection.info.dbname
    return (
        f"the database {name!r} has the encoding {encoding}, which cannot store every character of a task's data; it "
        "has to be UTF8. Create another one (CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0), copy the data "
        "to it (pg_dump, psql), and name it in DATABASE_URL"
    )


class SharedSession(Exception):
    """The pooler shares sessions between connections."""

    def __init__(self) -> None:
        super().__init__(REFUSAL)


def is_refused(error: BaseException | None) -> bool:
    """Whether a connection failed because its pooler is refused, not because the server is unavailable."""
    while error is not None and not isinstance(error, SharedSession):
        error = error.__cause__
    return error is not None


def has_pooler(connection: Any) -> bool:
    """Whether another process than the session's accepted the connection. One round trip."""
    return bool(connection.info.backend_pid != _session(connection))


def require_own_sessions(one: Any, other: Any) -> None:
    """Raise SharedSession if two open connections share a session of the server, or if one changes its session."""
    sessions = ([_session(one), _session(other)] for _ in range(SESSION_CHECKS))
    ones, others = map(set, zip(*sessions, strict=True))
    if len(ones) > 1 or len(others) > 1 or ones & others:
        raise SharedSession


def _session(connection: Any) -> int:
    """The process id of the server's session. Leaves no transaction open."""
    before, connection.autocommit = connection.autocommit, True
    try:
        return int(connection.execute("SELECT pg_backend_pid()").fetchone()[0])
    finally:
        connection.autocommit = before
