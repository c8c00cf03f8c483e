"""How long statements may take: limits of the server's for a session, and of ours for a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from django.db import connection

from tasks_app.db.postgresql.limit import CALL_LIMIT_SECONDS
from tasks_app.db.postgresql.limit import limited as call_limited

#: The limits that are lifted. `lock_timeout` stays: statements queue behind a migration that waits for a lock.
LIFTED = ("statement_timeout", "idle_in_transaction_session_timeout")


def limited(seconds: float) -> AbstractContextManager[None]:
    """See Store."""
    return call_limited(min(CALL_LIMIT_SECONDS, seconds))


@contextmanager
def unlimited() -> Iterator[None]:
    """See Store."""
    with connection.cursor() as cursor:
        for name in LIFTED:
            cursor.execute(f"SET {name} = 0")
    try:
        with call_limited(None):
            yield
    finally:
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                for name in LIFTED:
                    cursor.execute(f"RESET {name}")
