"""A connection whose calls end, whatever becomes of the server.

`statement_timeout` is the server's own promise: one that is stopped (SIGSTOP, a host whose memory swaps, a dropped
route) cannot keep it. Its kernel goes on acknowledging, so neither keepalives nor `tcp_user_timeout` notice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

T = TypeVar("T")

#: Seconds that a server has for one statement: a little more than its own `statement_timeout`, so that one that lives
#: says itself what is wrong, and keeps the connection.
LIMIT = 11.0


class NoAnswer(psycopg.OperationalError):
    """The server has taken a call and not answered it, or does not even greet."""


class _Limit(threading.local):
    seconds: float | None = LIMIT


_limit = _Limit()


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Within, a call of this thread may take so long; None: as long as it likes."""
    before, _limit.seconds = _limit.seconds, seconds
    try:
        yield
    finally:
        _limit.seconds = before


class Bounded(psycopg.Connection[Any]):
    """Raises NoAnswer after the limit, and is closed then: what the server did with the call is not known."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's; every call of a connection and of its cursors comes through here."""
        limit = _limit.seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout:
            # At once: else the rollback that follows would wait for as long again.
            self.pgconn.finish()
            raise NoAnswer(f"the server has not answered for {limit:g} s") from None
