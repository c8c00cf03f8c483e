"""Live events on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import LiveEvents, rows_of

_COLUMNS = "task_id, attempt, sequence, kind, body, container, at"
# Only a running task has a node. Each is looked up by its key: LATERAL with a lock is not turned into a join. The lock
# keeps a rescue from ending the attempt before the rows are committed. It holds up no settle, and waits for nothing.
ADD = f"""
WITH held AS (
  SELECT d.id, d.attempt FROM json_to_recordset($1::json) AS d(id uuid, attempt int)
  CROSS JOIN LATERAL (
    SELECT FROM taskdaemon_task AS task
    WHERE task.id = d.id AND task.attempts = d.attempt AND task.node = $3::text
    FOR KEY SHARE SKIP LOCKED
  ) AS running
), added AS (
  INSERT INTO taskdaemon_live_event ({_COLUMNS})
  SELECT d.task, d.attempt, d.sequence, d.kind, d.body, d.container, clock_timestamp()
  FROM json_to_recordset($2::json) AS
    d(task uuid, attempt int, sequence int, kind text, body jsonb, container text)
  WHERE (d.task, d.attempt) IN (SELECT id, attempt FROM held)
  ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
)
SELECT id::text, attempt FROM held
"""
_ENDED = """SELECT FROM taskdaemon_live_event AS event
    WHERE event.task_id = d.task AND event.attempt = d.attempt AND event.kind = 'end'"""
END = f"""
INSERT INTO taskdaemon_live_event ({_COLUMNS})
SELECT d.task, d.attempt, d.sequence, d.kind, d.body, d.container, clock_timestamp()
FROM json_to_recordset($1::json) AS
  d(task uuid, attempt int, sequence int, kind text, body jsonb, container text)
WHERE NOT EXISTS ({_ENDED})
ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
"""
END_LOST = f"""
INSERT INTO taskdaemon_live_event ({_COLUMNS})
SELECT d.task, d.attempt, last.sequence + 1, 'end', $2::jsonb, NULL, clock_timestamp()
FROM json_to_recordset($1::json) AS d(task uuid, attempt int)
CROSS JOIN LATERAL (
  SELECT sequence, kind FROM taskdaemon_live_event AS event
  WHERE event.task_id = d.task AND event.attempt = d.attempt ORDER BY sequence DESC LIMIT 1
) AS last
WHERE last.kind <> 'end'
ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def add_live_events(node: str, batches: Sequence[LiveEvents]) -> set[tuple[str, int]]:
    """See Store."""
    attempts = [{"id": each.task_id, "attempt": each.attempt} for each in batches]
    return {(row[0], row[1]) for row in prepared(ADD, (_encode(attempts), _rows(batches), node))}


def end_live_events(batches: Sequence[LiveEvents]) -> None:
    """See Store."""
    prepared(END, (_rows(batches),))


def end_lost_live_events(attempts: Sequence[tuple[UUID, int]], outcome: str) -> None:
    """See Store."""
    lost = [{"task": str(task_id), "attempt": attempt} for task_id, attempt in attempts]
    prepared(END_LOST, (_encode(lost), _encode({"outcome": outcome})))


def _rows(batches: Sequence[LiveEvents]) -> str:
    names = ("task", "attempt", "sequence", "kind", "body", "container")
    return _encode([dict(zip(names, row, strict=True)) for row in rows_of(batches)])
