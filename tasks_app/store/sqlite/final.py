"""Which of some tasks are final, on SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from tasks_app.store.sql import FINAL_OR_GONE

STATEMENT = FINAL_OR_GONE.format(id="value", ids="json_each(?) AS watched", yes="1")


def final_or_gone(ids: Sequence[UUID]) -> list[UUID]:
    """See Store."""
    with connection.wrap_database_errors:
        connection.ensure_connection()
        rows = connection.connection.execute(STATEMENT, (json.dumps([each.hex for each in ids]),)).fetchall()
    return [UUID(text) for (text,) in rows]
