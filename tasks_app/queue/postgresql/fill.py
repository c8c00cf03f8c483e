"""Fill on PostgreSQL: statements that are sent once this transaction is the only one that fills."""

from __future__ import annotations

import json
from functools import cache

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import Selection
from tasks_app.queue.postgresql.session import bare_writing, configure_session
from tasks_app.queue.sql import MOST_FILLED, ORDER, UNLIMITED, Filled, KeyLimits

#: The numbers are arbitrary; `moves` has (7468, 3). A filler that stands still would stop all fills: its session ends.
ALONE = """
SELECT pg_advisory_xact_lock(7468, 4), set_config('idle_in_transaction_session_timeout', '5000', true)
"""
#: In a statement after the lock: one that began before it would not see the permits of the fill before.
DUE = f"""
SELECT coalesce(json_agg(due.id)::text, '[]'), coalesce(json_agg(DISTINCT due.task_type)::text, '[]')
FROM (SELECT id, task_type FROM taskdaemon_fill_due ORDER BY id LIMIT {MOST_FILLED}) AS due
"""
#: The limits of types.
_LIMITED = "json_to_recordset($1::json) AS limited(type text, permits int, ready int)"
#: How many permits a key has, and how many of them are of ready tasks that never ran; null if that is not limited.
_COUNTS = """
  CASE WHEN limited.permits IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key
  ) END AS permits,
  CASE WHEN limited.ready IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit CROSS JOIN LATERAL (
      SELECT FROM taskdaemon_task AS task
      WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
    ) AS task
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key AND permit.attempt IS NULL
  ) END AS ready
"""
_TAKE_BACK = f"""
WITH key AS MATERIALIZED (
  SELECT due.task_type, due.limit_key, counted.permits > limited.permits OR counted.ready > limited.ready AS too_many
  FROM (SELECT DISTINCT task_type, limit_key FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])) AS due
  JOIN {_LIMITED} ON limited.type = due.task_type
  CROSS JOIN LATERAL (SELECT {_COUNTS}) AS counted
), unstarted AS MATERIALIZED (
  SELECT permit.id, permit.task_id, permit.task_type, permit.limit_key, permit.place, task.priority
  FROM key
  LEFT JOIN LATERAL (
    SELECT held.priority, held.place FROM taskdaemon_held_task AS held
    WHERE held.task_type = key.task_type AND held.limit_key = key.limit_key AND NOT held.waits
    ORDER BY {{order}} LIMIT 1
  ) AS best ON true
  CROSS JOIN LATERAL (
    SELECT * FROM taskdaemon_permit AS permit
    WHERE permit.task_type = key.task_type AND permit.limit_key = key.limit_key AND permit.attempt IS NULL
  ) AS permit
  CROSS JOIN LATERAL (
    SELECT priority FROM taskdaemon_task AS task
    WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
      AND (key.too_many OR {{better}})
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS task
  LIMIT {MOST_FILLED}
), no_permit AS (
  DELETE FROM taskdaemon_permit WHERE id = ANY(ARRAY(SELECT id FROM unstarted))
), held AS (
  INSERT INTO taskdaemon_held_task (task_id, task_type, limit_key, priority, place, waits)
  SELECT task_id, task_type, limit_key, priority, place, false FROM unstarted
), due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM unstarted WHERE (SELECT count(*) FROM unstarted) >= {MOST_FILLED}
)
UPDATE taskdaemon_task AS task SET due = 'infinity', due_at = NULL, clock = 'server'
FROM unstarted WHERE task.id = unstarted.task_id
"""
#: Whether the best held task of a key comes before a ready one. Under lifo a later position comes first, so that all
#: get new ones.
_BETTER: dict[Selection, str] = {
    "fifo": "best.place < permit.place",
    "lifo": "best.place IS NOT NULL",
    "priority": "(best.priority > task.priority OR best.priority = task.priority AND best.place < permit.place)",
}
_FILL = f"""
WITH due AS MATERIALIZED (
  SELECT DISTINCT task_type, limit_key FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])
), room AS MATERIALIZED (
  SELECT due.task_type, due.limit_key,
    least(limited.permits - counted.permits, limited.ready - counted.ready, {UNLIMITED}) AS tasks
  FROM due LEFT JOIN {_LIMITED} ON limited.type = due.task_type
  CROSS JOIN LATERAL (SELECT {_COUNTS}) AS counted
), best AS MATERIALIZED (
  SELECT held.*, row_number() OVER (ORDER BY {{order}}) AS ordinal
  FROM room CROSS JOIN LATERAL (
    SELECT task_id, task_type, limit_key, priority, place FROM taskdaemon_held_task AS held
    WHERE held.task_type = room.task_type AND held.limit_key = room.limit_key AND NOT held.waits
    ORDER BY {{order}} LIMIT greatest(least(room.tasks, {MOST_FILLED} + 1), 0)
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
  DELETE FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])
), still_due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM best WHERE task_id NOT IN (SELECT task_id FROM locked)
  UNION SELECT task_type, limit_key FROM room WHERE tasks > 0 AND (SELECT count(*) FROM best) > {MOST_FILLED}
), no_longer_held AS (
  DELETE FROM taskdaemon_held_task WHERE task_id = ANY(ARRAY(SELECT task_id FROM locked))
), permitted AS (
  INSERT INTO taskdaemon_permit (task_id, task_type, limit_key, place, since)
  SELECT task_id, task_type, limit_key, place, clock_timestamp() FROM locked
), ready AS (
  UPDATE taskdaemon_task AS task
  SET due = NULL, ready_at = clock_timestamp(), place = coalesce(placed.place, task.place)
  FROM (
    SELECT task_id, CASE WHEN attempts = 0 THEN nextval('taskdaemon_place') END AS place
    FROM (SELECT task_id, attempts FROM locked ORDER BY {{positions}}) AS locked
  ) AS placed
  WHERE task.id = placed.task_id
  RETURNING task.task_type, task.priority
)
SELECT coalesce(json_agg(json_build_array(task_type, priority))::text, '[]') FROM ready
"""


@cache
def take_back_statement(order: Selection) -> str:
    """$1 the limits of types as JSON, $2 the due rows."""
    return _TAKE_BACK.format(order=ORDER[order], better=_BETTER[order])


@cache
def fill_statement(order: Selection) -> str:
    """$1 the limits of types as JSON, $2 the due rows."""
    return _FILL.format(order=ORDER[order], positions="ordinal DESC" if order == "lifo" else "ordinal")


def fill(limits: KeyLimits, order: Selection) -> Filled:
    configure_session(durable=False)
    text = json.dumps([{"type": name, **limit._asdict()} for name, limit in limits.items()])
    with bare_writing(durable=False):
        prepared(ALONE, ())
        [(due, types)] = prepared(DUE, ())
        if not (ids := json.loads(due)):
            return Filled(0, [])
        rows = "{" + ",".join(map(str, ids)) + "}"
        if limits.keys() & set(json.loads(types)):
            prepared(take_back_statement(order), (text, rows))
        [(ready,)] = prepared(fill_statement(order), (text, rows))
    return Filled(len(ids), [(name, priority) for name, priority in json.loads(ready)])
