"""Redrive many on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

REDRIVE = """
UPDATE taskdaemon_task SET status = 'pending', place = ?2, retries = 0, failure_reason = NULL, failure_group = NULL,
  completed_at = NULL, due = NULL, due_at = NULL, expires_at = NULL, ready_at = ?3
WHERE id = ?1 AND status = 'failed'
"""


def redrive(rows: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """See Store."""
    moment = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    with connection.wrap_database_errors:
        execute = connection.connection.cursor().execute
        return {identity for identity, place in rows if execute(REDRIVE, (identity.hex, place, moment)).rowcount}
