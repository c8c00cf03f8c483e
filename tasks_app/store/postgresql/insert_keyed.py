"""Insert of requests with idempotency keys on PostgreSQL: one statement, as for plain tasks."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.runner.json_size import stored_size
from tasks_app.store.new_idempotency_key import NewIdempotencyKey
from tasks_app.store.new_task import NewTask, encode
from tasks_app.store.sql import NEW

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
