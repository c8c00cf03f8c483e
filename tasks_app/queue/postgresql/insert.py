"""Insert on PostgreSQL: one statement for the tasks, their positions and the counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.new_task import NewIdempotencyKey, NewRow, NewTask, encode
from tasks_app.queue.sql import NEW, OPTIONS
from tasks_app.runner.wire import stored_size

INSERT = f"""
WITH new AS (
  SELECT id, task_type, task_data, priority, size, ordinal, clock_timestamp() AS moment
  FROM ROWS FROM (json_to_recordset($1::json) AS (id uuid, type text, data jsonb, priority int, size int))
    WITH ORDINALITY AS n(id, task_type, task_data, priority, size, ordinal)
  ORDER BY ordinal
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts) VALUES ($2)
)
INSERT INTO taskdaemon_task ({NEW})
SELECT id, task_type, task_data, priority, 'pending', nextval('taskdaemon_place'), 0, 0, '', '',
  moment, moment, size FROM new
"""
# `ORDER BY ordinal`: rows are stored, and unique keys waited for, in the order given.
INSERT_ROWS = f"""
INSERT INTO taskdaemon_task ({NEW}, {OPTIONS})
SELECT id, task_type, task_data, priority, 'pending', place, 0, 0, clock, '', created_at, created_at, size, {OPTIONS}
FROM ROWS FROM (json_to_recordset($1::json) AS (
    id uuid, task_type text, task_data jsonb, priority int, place bigint, created_at timestamptz, clock text,
    due float8, due_at timestamptz, expires_at timestamptz, requested_timeout float8, requested_max_retries int,
    tags jsonb, metadata jsonb, unique_key text, size int
  )) WITH ORDINALITY AS n(
    id, task_type, task_data, priority, place, created_at, clock, {OPTIONS}, size, ordinal)
ORDER BY ordinal
ON CONFLICT DO NOTHING
"""
#: The values of a row that are JSON text already.
_JSON = ("task_data", "tags", "metadata")
#: A position is taken after its transaction has locked the table, as an INSERT does: see `horizon`.
LOCK = "LOCK TABLE taskdaemon_task IN ROW EXCLUSIVE MODE"
NEXT_POSITIONS = "SELECT nextval('taskdaemon_place') FROM generate_series(1, %s)"


def insert(new: Sequence[NewTask], ids: Sequence[UUID], texts: Sequence[str]) -> None:
    """See Store."""
    # One JSON text, because psycopg adapts each element of an array in Python.
    rows = ",".join(
        f'{{"id":"{identity}","type":{encode(each.task_type)},"data":{text},"priority":{each.priority},'
        f'"size":{stored_size(text)}}}'
        for identity, each, text in zip(ids, new, texts, strict=True)
    )
    received = Counter(f"received|{each.task_type}" for each in new)
    prepared(INSERT, (f"[{rows}]", encode(received)))


def insert_rows(rows: Sequence[NewRow]) -> None:
    """See Store."""
    prepared(INSERT_ROWS, ("[" + ",".join(map(_as_json, rows)) + "]",))


def _as_json(row: NewRow) -> str:
    pairs = row._asdict()
    texts = {name: text for name in _JSON if (text := pairs.pop(name)) is not None}
    pairs["id"], pairs["place"] = str(row.id), pairs.pop("position")
    pairs["size"] = stored_size(row.task_data)
    for name in ("created_at", "due_at", "expires_at"):
        pairs[name] = pairs[name] and pairs[name].isoformat()
    return encode(pairs)[:-1] + "".join(f',"{name}":{text}' for name, text in texts.items()) + "}"


def next_positions(count: int) -> Sequence[int]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
        cursor.execute(NEXT_POSITIONS, [count])
        return [row[0] for row in cursor.fetchall()]


# Insert of requests with idempotency keys on PostgreSQL: one statement, as for plain tasks.

INSERT_KEYED = f"""
WITH won AS (
  INSERT INTO taskdaemon_idempotency_key (owner, key, fingerprint, task_ids, expires_at)
  SELECT owner, key, fingerprint, task_ids, expires_at
  FROM ROWS FROM (json_to_recordset($1::json) AS (
      owner bigint, key text, fingerprint text, task_ids jsonb, expires_at timestamptz
    )) WITH ORDINALITY AS k(owner, key, fingerprint, task_ids, expires_at, ordinal)
  ORDER BY ordinal
  ON CONFLICT DO NOTHING RETURNING owner, key
), new AS MATERIALIZED (
  SELECT id, task_type, task_data, priority, size, ordinal, clock_timestamp() AS moment
  FROM ROWS FROM (json_to_recordset($2::json) AS (
      id uuid, type text, data jsonb, priority int, size int, owner bigint, key text
    )) WITH ORDINALITY AS n(id, task_type, task_data, priority, size, owner, key, ordinal)
  JOIN won USING (owner, key)
  ORDER BY ordinal
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts)
  SELECT json_object_agg('received|' || task_type, count)::text
  FROM (SELECT task_type, count(*) AS count FROM new GROUP BY task_type) AS types HAVING count(*) > 0
), stored AS (
  INSERT INTO taskdaemon_task ({NEW})
  SELECT id, task_type, task_data, priority, 'pending', nextval('taskdaemon_place'), 0, 0, '', '',
    moment, moment, size FROM new
)
SELECT owner, key FROM won
"""


def insert_keyed(
    keys: Sequence[NewIdempotencyKey], new: Sequence[NewTask], ids: Sequence[UUID], texts: Sequence[str]
) -> set[tuple[int, str]]:
    """See Store."""
    rows = [
        {
            "owner": each.owner, "key": each.key, "fingerprint": each.fingerprint,
            "task_ids": [str(ids[at]) for at in each.tasks], "expires_at": each.expires_at.isoformat(),
        }
        for each in keys
    ]  # fmt: skip
    of_task = {at: each for each in keys for at in each.tasks}
    tasks = ",".join(
        f'{{"id":"{identity}","type":{encode(each.task_type)},"data":{text},"priority":{each.priority},'
        f'"size":{stored_size(text)},"owner":{of_task[at].owner},"key":{encode(of_task[at].key)}}}'
        for at, (identity, each, text) in enumerate(zip(ids, new, texts, strict=True))
    )
    return set(prepared(INSERT_KEYED, (encode(rows), f"[{tasks}]")))
