"""How long a call to the server may take, for each thread. Imported on SQLite too, so it does not import psycopg."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections

#: A little more than the server's `statement_timeout`, so that a server that works reports its own error first and the
#: connection stays usable.
CALL_LIMIT_SECONDS = 11.0


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


# Prepared statements through Django's connection. Does not import psycopg, which takes 10 MB.


def prepared(sql: str, values: Sequence[str | int | float]) -> list[tuple[Any, ...]]:
    """The rows of a frequent statement (see `TimeoutConnection.prepared`). Raises DatabaseError."""
    here: Any = connections["default"]
    with here.wrap_database_errors:
        here.ensure_connection()
        rows: list[tuple[Any, ...]] = here.connection.prepared(sql, values)
        return rows
