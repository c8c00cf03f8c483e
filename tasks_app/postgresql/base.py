"""What Django loads for the engine `tasks_app.postgresql`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
from django.db.backends.postgresql import base

from tasks_app.postgresql.bounded import Bounded
from tasks_app.postgresql.limit import limited
from tasks_app.postgresql.outage import outage
from tasks_app.postgresql.pooler import SharedSession, has_pooler, require_own_sessions

#: Seconds that a kept connection has to show that it still works; less where nothing answers anyway.
CHECK, CHECK_IN_OUTAGE = 3.0, 0.5


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, over connections whose calls end (`Bounded`), and that does not ask a dead server twice.

    Not through a pooler that hands sessions on: that is an OperationalError, `pooler.is_refused`.
    """

    Database = SimpleNamespace(**{**vars(psycopg), "connect": Bounded.connect})  # type: ignore[assignment]
    #: Of this process: a pooler that gives each connection a session of its own, as it was found once.
    _pooler_is_known = False

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Raises NoAnswer after `connect_timeout`; at once while the server is known not to answer."""
        with outage.connecting():
            connection = super().get_new_connection(conn_params)
        try:
            if not DatabaseWrapper._pooler_is_known and has_pooler(connection):
                with super().get_new_connection(conn_params) as second:
                    require_own_sessions(connection, second)
                DatabaseWrapper._pooler_is_known = True
        except SharedSession as shared:
            connection.close()
            raise psycopg.OperationalError(str(shared)) from shared
        except BaseException:
            connection.close()
            raise
        return connection

    def is_usable(self) -> bool:
        """Asked before the first statement of a request: a frozen server is noticed here, and not in a commit."""
        with limited(CHECK_IN_OUTAGE if outage.known else CHECK):
            return bool(super().is_usable())
