"""How long statements may take: limits of the server's for a session, and of ours for a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from django.db import connection

from tasks_app.db.postgresql.limit import CALL_LIMIT_SECONDS
from tasks_app.db.postgresql.limit import limited as call_limited

#: A server that works reports its own error first, and the connection stays usable.
MARGIN_SECONDS = 1.0
#: The limits that are lifted. `lock_timeout` stays: statements queue behind a migration that waits for a lock.
LIFTED = ("statement_timeout", "idle_in_transaction_session_timeout")


def limited(seconds: float) -> AbstractContextManager[None]:
    """See Store."""
    return call_limited(min(CALL_LIMIT_SECONDS, seconds))


def unlimited() -> AbstractContextManager[None]:
    """See Store."""
    return _lifted(0, None)


def extended(seconds: float) -> AbstractContextManager[None]:
    """See Store."""
    return _lifted(int(seconds * 1000), seconds + MARGIN_SECONDS)


@contextmanager
def _lifted(milliseconds: int, call_seconds: float | None) -> Iterator[None]:
    """`milliseconds`: the server's limits, 0 for none. `call_seconds`: that of a call, which includes the sending."""
    with connection.cursor() as cursor:
        for name in LIFTED:
            cursor.execute(f"SET {name} = {milliseconds}")
    try:
        with call_limited(call_seconds):
            yield
    finally:
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                for name in LIFTED:
                    cursor.execute(f"RESET {name}")
