"""A connection whose calls end, whatever becomes of the server.

`statement_timeout` is the server's own promise: one that is stopped (SIGSTOP, a host whose memory swaps, a dropped
route) cannot keep it. Its kernel goes on acknowledging, so neither keepalives nor `tcp_user_timeout` notice.
"""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

from tasks_app.postgresql.limit import now

T = TypeVar("T")


class NoAnswer(psycopg.OperationalError):
    """The server has taken a call and not answered it, or does not even greet."""


class Bounded(psycopg.Connection[Any]):
    """Raises NoAnswer after the limit, and is closed then: what the server did with the call is not known."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's; every call of a connection and of its cursors comes through here."""
        limit = now.seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout:
            # At once: else the rollback that follows would wait for as long again.
            self.pgconn.finish()
            raise NoAnswer(f"the server has not answered for {limit:g} s") from None
