"""The database backend that Django loads for the engine `tasks_app.db.postgresql`: calls time out on the client's side.

`statement_timeout` is enforced by the server, and therefore not by one that is stopped (SIGSTOP, a swapping host) or
cut off. The kernel of a stopped server still acknowledges packets, so neither keepalives nor `tcp_user_timeout` take
effect.
"""

from __future__ import annotations

import secrets
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import psycopg
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper, OperationalError
from django.utils.functional import cached_property
from psycopg import errors, generators, pq
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import ConnectionTimeout

from tasks_app.db.postgresql.calls import (
    READ_ONLY,
    SharedSession,
    call_limit,
    ends_session,
    has_pooler,
    is_refused_write,
    limited,
    require_own_sessions,
)
from tasks_app.db.write_health import WriteRefused

T = TypeVar("T")

#: Between two attempts to connect to a server that does not answer, over all threads.
CONNECT_INTERVAL_SECONDS = 1.0
#: How long the check of a kept connection may take, and how long during a known outage.
CHECK_SECONDS, OUTAGE_CHECK_SECONDS = 3.0, 0.5
#: How long a session that was found to be usable is not checked again, unless it has failed or the server has ended it.
#: A server that freezes within that time is found by the request's own statement, which takes as long as a call may.
USABLE_SECONDS = 0.25


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
        #: What `queue/postgresql/session.py` has set: by `durable`.
        self.configured: set[bool] = set()

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's `wait`. Every call of a connection and of its cursors passes through here."""
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
        # Usually one result. If the server ends the session just after a statement failed, both errors are here.
        results = self.wait(generators.execute(self.pgconn))
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result)
        return results[-1]


class Outage:
    """The state of a server that does not answer, shared by the threads so that not each of them waits for a time-out.

    It begins when a new connection times out, and ends with the server's first answer, even a refusal.

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


class _Errors(DatabaseErrorWrapper):
    """Adds WriteRefused. Closes a read-only session: it may be a standby's, and the next one the primary's.

    If the server has ended a session for idling in a transaction (its process may have been suspended), raises
    OperationalError: psycopg raises InternalError, which would look like a bug.
    """

    wrapper: DatabaseWrapper

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None and is_refused_write(error):
            self.wrapper.errors_occurred = True
            if error.sqlstate == READ_ONLY:
                DatabaseWrapper.read_only_at = time.monotonic()
                self.wrapper.close()
            raise WriteRefused(*error.args).with_traceback(trace) from error
        if isinstance(error, psycopg.InternalError) and ends_session(error):
            self.wrapper.errors_occurred = True
            raise OperationalError(*error.args).with_traceback(trace) from error
        super().__exit__(kind, error, trace)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's wrapper of connections whose calls time out (`TimeoutConnection`). During an outage only one thread
    tries to connect.

    Refuses a pooler that shares sessions by an OperationalError for which `calls.is_refused` is true.
    """

    Database = SimpleNamespace(**{**vars(psycopg), "connect": TimeoutConnection.connect})  # type: ignore[assignment]
    #: Known to the process: there is no pooler, or it gives each connection its own session.
    _pooler_is_checked = False
    #: One value for the process, on the monotonic clock: when a session was last found to be read-only.
    read_only_at = -1.0
    #: On the monotonic clock: when this session was last found to be writable, and to be usable.
    _writable_at = 0.0
    _usable_at = float("-inf")

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        """Raises WriteRefused if the server refuses a write."""
        return _Errors(self)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Raises NoAnswer after `connect_timeout`; at once during a known outage, unless it is this thread's turn."""
        self._writable_at, self._usable_at = 0.0, float("-inf")
        with outage.connecting():
            connection = super().get_new_connection(conn_params)
        try:
            if not DatabaseWrapper._pooler_is_checked and has_pooler(connection):
                with super().get_new_connection(conn_params) as second:
                    require_own_sessions(connection, second)
                DatabaseWrapper._pooler_is_checked = True
        except SharedSession as error:
            connection.close()
            raise psycopg.OperationalError(str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def is_usable(self) -> bool:
        """Called before the first statement of a request, so that a frozen server is found here and not by a commit."""
        if self._is_known_usable():
            return True
        with limited(OUTAGE_CHECK_SECONDS if outage.known else CHECK_SECONDS):
            if not (super().is_usable() and self._may_write()):
                return False
        self._usable_at = time.monotonic()
        return True

    def _is_known_usable(self) -> bool:
        """Checks without a round trip: a session that the server has ended has input, the reason or the end of the
        stream."""
        return (
            not self.errors_occurred
            and time.monotonic() - self._usable_at < USABLE_SECONDS
            and self._writable_at > DatabaseWrapper.read_only_at
            and not self.connection.closed
            and not _has_input(self.connection.pgconn.socket)
        )

    def _may_write(self) -> bool:
        """False for a read-only session. Asks the server only if a write was refused since this session was last
        found to be writable: besides the refused session, others may be read-only too."""
        if self._writable_at <= DatabaseWrapper.read_only_at:
            try:
                ((only,),) = self.connection.execute("SHOW transaction_read_only").fetchall()
            except psycopg.Error:
                return False
            if only == "on":
                return False
            self._writable_at = time.monotonic()
        return True


def _has_input(socket: int) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
