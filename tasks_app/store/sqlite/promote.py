"""Promote on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

PROMOTE = """
UPDATE taskdaemon_task SET due = NULL, due_at = NULL, ready_at = ?, place = coalesce(?, place)
WHERE id = ? AND status = 'pending' AND due IS NOT NULL
"""


def promote(rows: Sequence[tuple[UUID, int | None]]) -> None:
    """See Store."""
    moment = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    with connection.wrap_database_errors:
        connection.connection.executemany(PROMOTE, [(moment, place, identity.hex) for identity, place in rows])
