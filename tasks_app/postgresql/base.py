"""What Django loads for the engine `tasks_app.postgresql`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
from django.db.backends.postgresql import base

from tasks_app.postgresql.bounded import Bounded
from tasks_app.postgresql.limit import limited
from tasks_app.postgresql.outage import outage

#: Seconds that a kept connection has to show that it still works; less where nothing answers anyway.
CHECK, CHECK_IN_OUTAGE = 3.0, 0.5


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, over connections whose calls end (`Bounded`), and that does not ask a dead server twice."""

    Database = SimpleNamespace(**{**vars(psycopg), "connect": Bounded.connect})  # type: ignore[assignment]

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Raises NoAnswer after `connect_timeout`; at once while the server is known not to answer."""
        with outage.connecting():
            return super().get_new_connection(conn_params)

    def is_usable(self) -> bool:
        """Asked before the first statement of a request: a frozen server is noticed here, and not in a commit."""
        with limited(CHECK_IN_OUTAGE if outage.known else CHECK):
            return bool(super().is_usable())
