"""The database backend that Django loads for the engine `tasks_app.db.postgresql`."""

from __future__ import annotations

import select
import time
from types import SimpleNamespace
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from tasks_app.db.postgresql.calls import limited
from tasks_app.db.postgresql.connection import TimeoutConnection, outage
from tasks_app.db.postgresql.refusal import is_read_only, is_refused_write
from tasks_app.db.postgresql.server_checks import SharedSession, has_pooler, require_own_sessions
from tasks_app.db.write_health import WriteRefused

#: How long the check of a kept connection may take, and how long during a known outage.
CHECK_SECONDS, OUTAGE_CHECK_SECONDS = 3.0, 0.5
#: How long a session that was found to be usable is not checked again, unless it has failed or the server has ended it.
USABLE_SECONDS = 0.02


class _Errors(DatabaseErrorWrapper):
    """Adds WriteRefused. Closes a read-only session: it may be a standby's, and the next one the primary's."""

    wrapper: DatabaseWrapper

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if is_refused_write(error):
            self.wrapper.errors_occurred = True
            if is_read_only(error):
                DatabaseWrapper.read_only_at = time.monotonic()
                self.wrapper.close()
            raise WriteRefused(*error.args).with_traceback(trace) from error
        super().__exit__(kind, error, trace)


class DatabaseWrapper(base.DatabaseWrapper):
    """Over connections whose calls time out (`TimeoutConnection`). During an outage only one thread tries to connect.

    Refuses a pooler that shares sessions by an OperationalError for which `pooler.is_refused` is true.
    """

    Database = SimpleNamespace(**{**vars(psycopg), "connect": TimeoutConnection.connect})  # type: ignore[assignment]
    #: Of the process: there is no pooler, or it gives each connection its own session.
    _pooler_is_checked = False
    #: Of the process, on the monotonic clock: when a session was last found to be read-only.
    read_only_at = -1.0
    #: Of this session, on the monotonic clock: when it was last found to be writable, and to be usable.
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
        """Without a round trip. A session that the server has ended has input: the reason, or the end of the stream."""
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
