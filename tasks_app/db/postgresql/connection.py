"""A connection whose calls time out on the client's side.

`statement_timeout` is enforced by the server, and therefore not by one that is stopped (SIGSTOP, a swapping host) or
cut off. The kernel of a stopped server still acknowledges packets, so neither keepalives nor `tcp_user_timeout` take
effect.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors, generators, pq
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import ConnectionTimeout

from tasks_app.db.postgresql.calls import call_limit

T = TypeVar("T")


class NoAnswer(psycopg.OperationalError):
    """The server did not answer a call in time, or did not accept a connection in time."""


class TimeoutConnection(psycopg.Connection[Any]):
    """A call that exceeds the limit closes the connection and raises NoAnswer: the server may have carried it out."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._names: dict[str, bytes] = {}
        # Makes the statements' names unique: a pooler may give us a session that still has those of another connection.
        self._prefix = secrets.token_hex(4)
        self._loader = Transformer(self)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's. Every call of a connection and of its cursors passes through here."""
        limit = call_limit.seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except errors._WaitTimeout:
            # Closed at once, or the rollback that follows would wait as long again.
            self.pgconn.finish()
            raise NoAnswer(f"the server has not answered for {limit:g} s") from None

    def prepared(self, sql: str, values: Sequence[str | int | float]) -> list[tuple[Any, ...]]:
        """The rows of a frequent statement, at half the cost of a cursor.

        The statement names its values $1, $2 and so on. They are sent as text, so it must cast those whose types the
        server cannot infer.
        """
        if not self.autocommit:
            self.wait(self._start_query())  # BEGIN, if there is no transaction yet
        outside = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        try:
            result = self._execute(sql, values)
        except errors.InvalidSqlStatementName:
            # Statements of the session were deallocated (DISCARD ALL, DEALLOCATE). Nothing was executed.
            self._names.clear()
            self._prefix = secrets.token_hex(4)
            if not outside:
                raise
            result = self._execute(sql, values)
        self._loader.set_pgresult(result)
        return self._loader.load_rows(0, result.ntuples, tuple)

    def _execute(self, sql: str, values: Sequence[str | int | float]) -> Any:
        if (name := self._names.get(sql)) is None:
            name = f"own_{self._prefix}_{len(self._names)}".encode()
            self.pgconn.send_prepare(name, sql.encode())
            self._results()
            self._names[sql] = name
        self.pgconn.send_query_prepared(name, [str(value).encode() for value in values])
        return self._results()

    def _results(self) -> Any:
        # Usually one. If the server ends the session just after a statement failed, both errors are here.
        results = self.wait(generators.execute(self.pgconn))
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result)
        return results[-1]


# The state of a server that does not answer, shared by the threads so that not each of them waits for a time-out.

#: Between two attempts to connect, over all threads.
CONNECT_INTERVAL_SECONDS = 1.0


class Outage:
    """Begins when a new connection times out, and ends with the server's first answer, even a refusal.

    Meanwhile one thread at a time tries to connect, and all others fail at once. A statement that times out begins no
    outage: the fault may be that connection's only, and the next attempt to connect finds out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._next_at = self._answered_at = 0.0
        self._trying = False

    @property
    def known(self) -> bool:
        """Whether there is an outage."""
        return self._since is not None

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Wrap every attempt to connect. Raises NoAnswer at once if it is not this thread's turn."""
        begun = self._clock()
        with self._lock:
            if self._since is not None and (self._trying or begun < self._next_at):
                raise NoAnswer(f"the server has not answered for {begun - self._since:.0f} s; no new attempt yet")
            exclusive = self._trying = self._since is not None
        answered = True
        try:
            yield
        except ConnectionTimeout as error:
            answered = False
            raise NoAnswer(f"the server accepted no connection within {self._clock() - begun:.0f} s") from error
        finally:
            with self._lock:
                if answered:
                    self._since, self._answered_at = None, self._clock()
                elif begun >= self._answered_at:  # otherwise another thread was answered meanwhile
                    self._since = begun if self._since is None else self._since
                    self._next_at = self._clock() + CONNECT_INTERVAL_SECONDS
                if exclusive:
                    self._trying = False


#: For this process, which has one database.
outage = Outage()
