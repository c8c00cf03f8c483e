"""Parts of statements that all databases spell alike."""

from __future__ import annotations

from tasks_app.feature import features
from tasks_app.queue.attempt import Selection

#: A task that may be claimed. Spelled literally as in the conditions of the partial indexes.
READY = "status = 'pending' AND due IS NULL"
#: The ORDER BY of each selection.
ORDER: dict[Selection, str] = {"fifo": "place", "lifo": "place DESC", "priority": "priority DESC, place"}
#: A task that no handler has begun: each of its attempts was released unread. Spelled as in the condition of the index.
NOT_BEGUN = "attempts <= coalesce(unbegun_attempts, 0)"
#: A task that may still be started: one that has been begun does not expire.
NOT_EXPIRED = f"(expires_at IS NULL OR NOT ({NOT_BEGUN}) OR expires_at > {{wall}})"
#: The columns of a new task, and those of the further ones that a caller may ask for.
NEW = (
    "id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at,"
    " task_data_size"
)
OPTIONS = (
    "due, due_at, expires_at, requested_timeout, requested_max_retries, tags, metadata, unique_key, schedule,"
    " scheduled_for, callback_url, callback_key"
)
#: Each id is looked up by the primary key.
FINAL_OR_GONE = """
SELECT {id} FROM {ids} WHERE coalesce(
  (SELECT status IN ('completed', 'failed') FROM taskdaemon_task AS task WHERE task.id = watched.{id}), {yes}
)
"""
#: A text for each id; null if no such task is stored. The largest sequence is read along the unique index.
VERSIONS = """
SELECT {id}, (
  SELECT status || ' ' || attempts || ' ' || coalesce(CAST(completed_at AS text), '') || ' ' || coalesce((
    SELECT max(sequence) FROM taskdaemon_live_event AS event
    WHERE event.task_id = task.id AND event.attempt = task.attempts), 0)
  FROM taskdaemon_task AS task WHERE task.id = watched.{id}
) FROM {ids}
"""
#: Three columns: the paused types as JSON, whether the node is drained, and its drained types, the keys of an object.
ON_HOLD = """
  (SELECT {handlers} FROM taskdaemon_handler_pause WHERE until IS NULL OR until > {wall}),
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE name = {node} AND drain_requested_at IS NOT NULL),
  (SELECT CAST(drained_types AS text) FROM taskdaemon_node WHERE name = {node})"""
# Each part spells the condition of an index literally and reads the first row along it. Without ORDER BY, PostgreSQL
# may scan the table instead.
LATE = "(lease < {now} OR lease > {now} + {longest} OR clock <> {clock})"
DUE_WORK = """
SELECT {now},
  (SELECT due FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock = {clock} {from_due} ORDER BY due LIMIT 1),
  (SELECT {array} FROM ({holders}) AS holder),
  EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock < {clock} AND due_at <= {wall} ORDER BY clock LIMIT 1) AS a)
  OR EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock > {clock} AND due_at <= {wall} ORDER BY clock LIMIT 1) AS b),
  EXISTS (SELECT 1 FROM ({lost}) AS c),
  (SELECT expires_at FROM taskdaemon_task
    WHERE status = 'pending' AND expires_at IS NOT NULL AND {not_begun} {from_expiry}
    ORDER BY expires_at LIMIT 1) <= {wall},
  (SELECT expires_at FROM taskdaemon_idempotency_key ORDER BY expires_at LIMIT 1) <= {wall},
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at IS NULL AND name <> {node}),
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at < {kept}),
  (SELECT at FROM taskdaemon_live_event WHERE kind = 'end' ORDER BY at LIMIT 1) <= {kept_events},
  EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'failed' AND failure_group IS NULL {from_failure} ORDER BY completed_at LIMIT 1) AS d),
  EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE {untold} {from_end} ORDER BY completed_at LIMIT 1) AS e),
  {features}, {minute},
  coalesce((SELECT max(id) FROM taskdaemon_reload), 0),{on_hold}
"""


def due_work() -> str:
    """DUE_WORK with ON_HOLD; `{features}` is a text: the names of what is due of the features of the deployment."""
    conditions = [item for feature in features() for item in feature.due_work.items()]
    named = [f"CASE WHEN {condition} THEN '{name} ' ELSE '' END" for name, condition in conditions]
    return DUE_WORK.replace("{features}", "\n  || ".join([*named, "''"])).replace("{on_hold}", ON_HOLD)


# The conditions are literals, as in the partial indexes, so that no final task is read. Among tasks that have not run
# yet, the oldest ready one has the lowest position. A retry keeps its position, so for retries another index gives the
# oldest.
READING = """
SELECT 'total' AS kind, series AS name, '' AS detail, CAST(sum(value) AS bigint) AS n,
  CAST(NULL AS double precision) AS age
FROM {counters} GROUP BY series
UNION ALL
SELECT 'ready', g.task_type, '', g.n, (
  SELECT {age} FROM (
    SELECT ready_at FROM (
      SELECT ready_at FROM taskdaemon_task
      WHERE status = 'pending' AND due IS NULL AND task_type = g.task_type AND attempts = 0 ORDER BY place LIMIT 1
    ) AS new
    UNION ALL
    SELECT ready_at FROM (
      SELECT ready_at FROM taskdaemon_task
      WHERE status = 'pending' AND due IS NULL AND attempts > 0 AND task_type = g.task_type ORDER BY ready_at LIMIT 1
    ) AS again
  ) AS first
) FROM (
  SELECT task_type, count(*) AS n FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL GROUP BY task_type
) AS g
UNION ALL
SELECT 'waiting', task_type, '', count(*), NULL FROM taskdaemon_task
WHERE status = 'pending' AND due IS NOT NULL GROUP BY task_type
UNION ALL
SELECT 'running', task_type, node, count(*), NULL FROM ({running}) AS running GROUP BY task_type, node
"""
