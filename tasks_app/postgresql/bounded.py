"""A connection whose calls end, whatever becomes of the server.

`statement_timeout` is the server's own promise: one that is stopped (SIGSTOP, a host whose memory swaps, a dropped
route) cannot keep it. Its kernel goes on acknowledging, so neither keepalives nor `tcp_user_timeout` notice.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import errors, generators, pq
from psycopg.abc import PQGen
from psycopg.adapt import Transformer

from tasks_app.postgresql.limit import now

T = TypeVar("T")


class NoAnswer(psycopg.OperationalError):
    """The server has taken a call and not answered it, or does not even greet."""


class Bounded(psycopg.Connection[Any]):
    """Raises NoAnswer after the limit, and is closed then: what the server did with the call is not known."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._names: dict[str, bytes] = {}
        # A pooler may hand on a session in which another connection's statements are left.
        self._mark = secrets.token_hex(4)
        self._loader = Transformer(self)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's; every call of a connection and of its cursors comes through here."""
        limit = now.seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout:
            # At once: else the rollback that follows would wait for as long again.
            self.pgconn.finish()
            raise NoAnswer(f"the server has not answered for {limit:g} s") from None

    def prepared(self, sql: str, values: Sequence[str | int | float]) -> list[tuple[Any, ...]]:
        """The rows of a statement that is sent again and again, for half of what a cursor costs.

        Values are $1, $2 and so on in it, and go as text: it has to say their types itself where nothing else does.
        """
        if not self.autocommit:
            self.wait(self._start_query())  # BEGIN, if there is no transaction yet
        outside = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        try:
            result = self._executed(sql, values)
        except errors.InvalidSqlStatementName:
            # Somebody has let go of the session's statements (DISCARD ALL, DEALLOCATE), or of some: none was run.
            self._names.clear()
            self._mark = secrets.token_hex(4)
            if not outside:
                raise
            result = self._executed(sql, values)
        self._loader.set_pgresult(result)
        return self._loader.load_rows(0, result.ntuples, tuple)

    def _executed(self, sql: str, values: Sequence[str | int | float]) -> Any:
        if (name := self._names.get(sql)) is None:
            name = f"own_{self._mark}_{len(self._names)}".encode()
            self.pgconn.send_prepare(name, sql.encode())
            self._answer()
            self._names[sql] = name
        self.pgconn.send_query_prepared(name, [str(value).encode() for value in values])
        return self._answer()

    def _answer(self) -> Any:
        # One, as a rule. A session that is ended just after its statement has failed says both.
        results = self.wait(generators.execute(self.pgconn))
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result)
        return results[-1]
