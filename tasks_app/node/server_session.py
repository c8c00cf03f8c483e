"""What a node's hot path tells its PostgreSQL session: prepare, plan once, and plan for few rows."""

from __future__ import annotations

from typing import Any

from django.db import connection

#: The planner does not know how few rows a round is about, and on a small table reads it whole instead of by its key;
#: with a plan for each execution it spends more time than the statement. A bitmap scan forgets no dead entries.
PLANS = (
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;"
    " SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
)


class ServerSession:
    """The session of one thread. Each new connection is told anew. On SQLite there is nothing to tell."""

    def __init__(self, *more: str) -> None:
        """`more`: further statements, such as `SET synchronous_commit = off`."""
        self._tells = "; ".join((PLANS, *more))
        self._told: Any = None

    def tuned(self) -> None:
        """Connect if need be. Raises DatabaseError."""
        if self._told is not None and connection.connection is self._told:
            return
        if connection.vendor != "postgresql":
            return
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute(self._tells)
        # Django says never; only what asks for it is prepared now.
        connection.connection.prepare_threshold = 1_000_000
        self._told = connection.connection
