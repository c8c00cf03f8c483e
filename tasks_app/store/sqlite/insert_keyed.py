"""Insert of requests with idempotency keys on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from django.db import connection

from tasks_app.store.new_idempotency_key import NewIdempotencyKey
from tasks_app.store.new_task import NewTask, encode
from tasks_app.store.sqlite.insert import insert

INSERT_KEYS = """
INSERT INTO taskdaemon_idempotency_key (owner, key, fingerprint, task_ids, expires_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)
WHERE true ON CONFLICT DO NOTHING RETURNING owner, key
"""


def insert_keyed(
    keys: Sequence[NewIdempotencyKey], new: Sequence[NewTask], ids: Sequence[UUID], texts: Sequence[str]
) -> set[tuple[int, str]]:
    """See Store."""
    rows = []
    for each in keys:
        until = each.expires_at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        rows.append((each.owner, each.key, each.fingerprint, encode([str(ids[at]) for at in each.tasks]), until))
    stored = set(connection.connection.execute(INSERT_KEYS, (encode(rows),)).fetchall())
    mine = sorted(at for each in keys if (each.owner, each.key) in stored for at in each.tasks)
    if mine:
        insert([new[at] for at in mine], [ids[at] for at in mine], [texts[at] for at in mine])
    return stored
