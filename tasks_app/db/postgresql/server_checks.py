"""The check of the database's encoding. Does not import the driver, which a node on SQLite has not loaded."""

from __future__ import annotations

from typing import Any


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


# The check for a pooler that shares sessions, which is refused. Does not import the driver.

#: How often the two sessions are compared: on a busy pool they may differ by chance.
SESSION_CHECKS = 10
REFUSAL = (
    "a pooler gives each transaction another session (PgBouncer's pool_mode = transaction): the settings of one "
    "process's session would apply to other processes, and an accepted task could be lost in a power cut. Use "
    "pool_mode = session, or no pooler (docs/operations.md)"
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
