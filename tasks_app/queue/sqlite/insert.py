"""Insert on SQLite: one statement for all tasks, because each step of a statement costs a call into the driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection

from tasks_app.queue.new_task import NewIdempotencyKey, NewRow, NewTask, encode
from tasks_app.queue.sql import NEW, OPTIONS
from tasks_app.queue.sqlite.counters import add_counts
from tasks_app.runner.wire import stored_size

INSERT = f"""
INSERT INTO taskdaemon_task ({NEW})
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'pending', ?1 + key, 0, 0, '', '', ?2, ?2, value ->> 4
FROM json_each(?3)
"""
INSERT_ROWS = f"""
INSERT INTO taskdaemon_task ({NEW}, {OPTIONS})
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'pending', value ->> 4, 0, 0, value ->> 6, '', value ->> 5,
  value ->> 5, value ->> 15, {", ".join(f"value ->> {n}" for n in range(7, 15))}
FROM json_each(?) WHERE true ON CONFLICT DO NOTHING
"""
NEXT_POSITIONS = "UPDATE taskdaemon_place SET value = value + %s RETURNING value"


def insert(new: Sequence[NewTask], ids: Sequence[UUID], texts: Sequence[str]) -> None:
    """See Store."""
    moment = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    positions = next_positions(len(new))
    rows = [
        (identity.hex, each.task_type, text, each.priority, stored_size(text))
        for identity, each, text in zip(ids, new, texts, strict=True)
    ]
    connection.connection.execute(INSERT, (positions[0], moment, encode(rows)))
    add_counts((f"received|{name}", n) for name, n in Counter(each.task_type for each in new).items())


def insert_rows(rows: Sequence[NewRow]) -> None:
    """See Store."""
    values = [[row.id.hex, *(_stored(value) for value in row[1:]), stored_size(row.task_data)] for row in rows]
    with connection.wrap_database_errors:
        connection.connection.execute(INSERT_ROWS, (encode(values),))


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    return value


def next_positions(count: int) -> Sequence[int]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(NEXT_POSITIONS, [count])
        last = int(cursor.fetchone()[0])
        return range(last - count + 1, last + 1)


# Insert of requests with idempotency keys on SQLite.

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
