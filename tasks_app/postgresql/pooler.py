"""Poolers between us and the server, of which one kind is refused. Without the driver: SQLite has no need of it."""

from __future__ import annotations

from typing import Any

#: Looks at the two sessions. On a busy pool the first may find them apart by chance.
LOOKS = 10
REFUSAL = (
    "a pooler hands the database's sessions on from transaction to transaction (PgBouncer's pool_mode = transaction): "
    "what one process tells its session would hold for others', and a task that was accepted could be lost in a power "
    "cut. Use pool_mode = session, or no pooler (docs/operations.md)"
)


class SharedSession(Exception):
    """Nobody has a session to themselves here."""

    def __init__(self) -> None:
        super().__init__(REFUSAL)


def is_refused(error: BaseException | None) -> bool:
    """Whether this is why there is no connection, and not that the server is away."""
    while error is not None and not isinstance(error, SharedSession):
        error = error.__cause__
    return error is not None


def has_pooler(connection: Any) -> bool:
    """Whether somebody else than the session that answers has greeted. One round trip."""
    return bool(connection.info.backend_pid != _session(connection))


def require_own_sessions(one: Any, other: Any) -> None:
    """Raises SharedSession if two connections that are both open meet in one session of the server, or change it."""
    sessions = ([_session(one), _session(other)] for _ in range(LOOKS))
    ones, others = map(set, zip(*sessions, strict=True))
    if len(ones) > 1 or len(others) > 1 or ones & others:
        raise SharedSession


def _session(connection: Any) -> int:
    """The server's process that answers now. Leaves no transaction open."""
    before, connection.autocommit = connection.autocommit, True
    try:
        return int(connection.execute("SELECT pg_backend_pid()").fetchone()[0])
    finally:
        connection.autocommit = before
