"""What changes with each event of a task, on SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from tasks_app.store.sql import VERSIONS

STATEMENT = VERSIONS.format(id="value", ids="json_each(?) AS watched")


def versions(ids: Sequence[UUID]) -> dict[UUID, str]:
    """See Store."""
    with connection.wrap_database_errors:
        connection.ensure_connection()
        rows = connection.connection.execute(STATEMENT, (json.dumps([each.hex for each in ids]),)).fetchall()
    return {UUID(text): version for text, version in rows if version is not None}
