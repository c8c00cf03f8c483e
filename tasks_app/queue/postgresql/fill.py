"""Fill on PostgreSQL: one statement, sent once this transaction is the only one that fills."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from uuid import UUID

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import Selection
from tasks_app.queue.postgresql.session import bare_writing
from tasks_app.queue.sql import MOST_FILLED, ORDER, UNLIMITED, Filled

#: The numbers are arbitrary; `moves` has (7468, 3).
# A process that is frozen within a fill would hold up all fills: the server ends its transaction.
ALONE = "SELECT set_config('idle_in_transaction_session_timeout', '5s', true), pg_advisory_xact_lock(7468, 4)"
_FILL = f"""
WITH due AS MATERIALIZED (
  SELECT id, task_type, limit_key FROM taskdaemon_fill_due ORDER BY id LIMIT {MOST_FILLED}
), room AS MATERIALIZED (
  SELECT asked.task_type, asked.limit_key, asked.most - (
    SELECT count(*) FROM taskdaemon_permit AS permit
    WHERE permit.task_type = asked.task_type AND permit.limit_key = asked.limit_key
  ) AS tasks
  FROM (
    SELECT task_type, limit_key, coalesce(limited.most, {UNLIMITED}) AS most
    FROM (SELECT DISTINCT task_type, limit_key FROM due) AS key
    LEFT JOIN json_to_recordset($1::json) AS limited(type text, most int) ON limited.type = key.task_type
  ) AS asked
), best AS MATERIALIZED (
  SELECT held.task_id, held.task_type, held.limit_key, row_number() OVER (ORDER BY {{order}}) AS ordinal
  FROM room CROSS JOIN LATERAL (
    SELECT * FROM taskdaemon_held_task AS held
    WHERE held.task_type = room.task_type AND held.limit_key = room.limit_key
    ORDER BY {{order}} LIMIT greatest(least(room.tasks, {MOST_FILLED}), 0)
  ) AS held
  ORDER BY ordinal LIMIT {MOST_FILLED} + 1
), locked AS MATERIALIZED (
  SELECT best.*, task.attempts FROM best CROSS JOIN LATERAL (
    SELECT attempts FROM taskdaemon_task AS task
    WHERE task.id = best.task_id AND coalesce(task.status) = 'pending' AND coalesce(task.due) = 'infinity'
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS task
  ORDER BY ordinal LIMIT {MOST_FILLED}
), no_longer_due AS (
  DELETE FROM taskdaemon_fill_due WHERE id = ANY(ARRAY(SELECT id FROM due))
), still_due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM best WHERE task_id NOT IN (SELECT task_id FROM locked)
  UNION SELECT task_type, limit_key FROM room WHERE tasks > 0 AND (SELECT count(*) FROM best) > {MOST_FILLED}
), no_longer_held AS (
  DELETE FROM taskdaemon_held_task WHERE task_id = ANY(ARRAY(SELECT task_id FROM locked))
), permitted AS (
  INSERT INTO taskdaemon_permit (task_id, task_type, limit_key, since)
  SELECT task_id, task_type, limit_key, clock_timestamp() FROM locked ON CONFLICT (task_id) DO NOTHING
), ready AS (
  UPDATE taskdaemon_task AS task
  SET due = NULL, ready_at = clock_timestamp(), place = coalesce(placed.place, task.place)
  FROM (
    SELECT task_id, CASE WHEN attempts = 0 THEN nextval('taskdaemon_place') END AS place
    FROM (SELECT * FROM locked ORDER BY ordinal) AS locked
  ) AS placed
  WHERE task.id = placed.task_id
  RETURNING task.task_type, task.priority
)
SELECT (SELECT count(*) FROM due), (SELECT json_agg(json_build_array(task_type, priority))::text FROM ready)
"""
#: The end of permits; their keys are due.
GIVE_UP = """
WITH given_up AS (
  DELETE FROM taskdaemon_permit WHERE task_id = ANY($1::uuid[]) RETURNING task_type, limit_key
)
INSERT INTO taskdaemon_fill_due (task_type, limit_key) SELECT DISTINCT task_type, limit_key FROM given_up
"""


@cache
def fill_statement(order: Selection) -> str:
    """$1 the limits of types as JSON."""
    return _FILL.format(order=ORDER[order])


def fill(limits: Mapping[str, int], order: Selection) -> Filled:
    text = json.dumps([{"type": name, "most": most} for name, most in limits.items()])
    with bare_writing(durable=False):
        prepared(ALONE, ())
        [(due, ready)] = prepared(fill_statement(order), (text,))
    return Filled(due, [(name, priority) for name, priority in json.loads(ready or "[]")])


def give_up(tasks: Sequence[UUID]) -> None:
    prepared(GIVE_UP, ("{" + ",".join(map(str, tasks)) + "}",))
