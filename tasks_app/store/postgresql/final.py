"""Which of some tasks are final, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.sql import FINAL_OR_GONE

STATEMENT = FINAL_OR_GONE.format(id="id", ids="unnest($1::uuid[]) AS watched(id)", yes="true")


def final_or_gone(ids: Sequence[UUID]) -> list[UUID]:
    """See Store."""
    return [identity for (identity,) in prepared(STATEMENT, (f"{{{','.join(map(str, ids))}}}",))]
