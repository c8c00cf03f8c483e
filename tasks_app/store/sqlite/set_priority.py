"""Change the priority of many on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

SET_PRIORITY = """
UPDATE taskdaemon_task SET priority = ?2, place = coalesce(?3, place) WHERE id = ?1 AND status = 'pending'
"""


def set_priority(rows: Sequence[tuple[UUID, int | None]], priority: int) -> set[UUID]:
    """See Store."""
    with connection.wrap_database_errors:
        execute = connection.connection.cursor().execute
        return {identity for identity, place in rows if execute(SET_PRIORITY, (identity.hex, priority, place)).rowcount}
