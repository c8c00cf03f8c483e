"""The settings of a node's sessions: prepared statements, one plan each, made for few rows."""

from __future__ import annotations

from typing import Any

from django.db import connection

#: The planner does not know how few rows a statement touches, and would read a small table whole instead of using its
#: index; a new plan for each execution would take longer than the statement. A bitmap scan does not mark dead entries.
PLANNER_SETTINGS = (
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;"
    " SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
)
#: A commit does not wait for the disk.
NOT_DURABLE = "SET synchronous_commit = off"


class Session:
    """See Session of the protocol."""

    def __init__(self, durable: bool = True) -> None:
        self._statements = PLANNER_SETTINGS if durable else f"{PLANNER_SETTINGS}; {NOT_DURABLE}"
        self._configured: Any = None

    def configure(self) -> None:
        """See Session of the protocol."""
        if self._configured is not None and connection.connection is self._configured:
            return
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute(self._statements)
        self._configured = connection.connection
