"""A connection whose calls end, whatever becomes of the server.

`statement_timeout` is the server's own promise: one that is stopped (SIGSTOP, a host whose memory swaps, a dropped
route) cannot keep it. Its kernel goes on acknowledging, so neither keepalives nor `tcp_user_timeout` notice.
"""

from __future__ import annotations

import math
import time
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
        self._loader = Transformer(self)
        self._until = math.inf

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
        self._send(sql, values)
        return self._rows(self._answer(generators.execute(self.pgconn)))

    def begin(self, sql: str, values: Sequence[str | int | float]) -> float:
        """Send such a statement; `finish` brings its rows. Until then nothing else may be asked of this connection.

        Answers when the server has had its time, on the monotonic clock.
        """
        self._send(sql, values)
        self.wait(generators.send(self.pgconn))
        self._until = time.monotonic() + (now.seconds or math.inf)
        return self._until

    def arrived(self) -> bool:
        """Take in what has come of the answer, without waiting; whether `finish` finds it, or has waited enough."""
        self.pgconn.consume_input()
        return not self.pgconn.is_busy() or time.monotonic() >= self._until

    def finish(self) -> list[tuple[Any, ...]]:
        """The rows of what was begun; waits for them as long as the server has time from the beginning."""
        left = max(self._until - time.monotonic(), 0.0)
        try:
            return self._rows(self._answer(generators.fetch_many(self.pgconn), None if left == math.inf else left))
        except NoAnswer:
            raise NoAnswer("the server has not answered a statement in its time") from None

    def _send(self, sql: str, values: Sequence[str | int | float]) -> None:
        if not self.autocommit and self.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            self.execute("SELECT")  # begins the transaction
        if (name := self._names.get(sql)) is None:
            name = b"own_%d" % len(self._names)
            self.pgconn.send_prepare(name, sql.encode())
            self._answer(generators.execute(self.pgconn))
            self._names[sql] = name
        self.pgconn.send_query_prepared(name, [str(value).encode() for value in values])

    def _answer(self, gen: PQGen[list[Any]], timeout: float | None = None) -> Any:
        # One, as a rule. A session that is ended just after its statement has failed says both.
        results = self.wait(gen, timeout=timeout)
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result)
        return results[-1]

    def _rows(self, result: Any) -> list[tuple[Any, ...]]:
        self._loader.set_pgresult(result)
        return self._loader.load_rows(0, result.ntuples, tuple)
