"""What changes with each event of a task, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.sql import VERSIONS

STATEMENT = VERSIONS.format(id="id", ids="unnest($1::uuid[]) AS watched(id)")


def versions(ids: Sequence[UUID]) -> dict[UUID, str]:
    """See Store."""
    rows = prepared(STATEMENT, (f"{{{','.join(map(str, ids))}}}",))
    return {identity: version for identity, version in rows if version is not None}
