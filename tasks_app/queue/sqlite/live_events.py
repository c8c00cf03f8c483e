"""Live events on SQLite. All transactions with the write lock: what is read is true when it is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from tasks_app.queue.attempt import LiveEvents, rows_of
from tasks_app.queue.new_task import encode

HELD = """
SELECT value ->> 0, value ->> 1 FROM json_each(?) AS d WHERE EXISTS (
  SELECT 1 FROM taskdaemon_task AS task
  WHERE task.id = d.value ->> 0 AND task.attempts = d.value ->> 1 AND task.node = ?
)
"""
_ADD = """
INSERT INTO taskdaemon_live_event (task_id, attempt, sequence, kind, body, container, at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4, value ->> 5, ? FROM json_each(?) AS d
WHERE {where} ON CONFLICT DO NOTHING
"""
ADD = _ADD.format(where="true")
END = _ADD.format(
    where="""NOT EXISTS (SELECT 1 FROM taskdaemon_live_event AS event
  WHERE event.task_id = d.value ->> 0 AND event.attempt = d.value ->> 1 AND event.kind = 'end')"""
)
LAST = """
SELECT sequence, kind FROM taskdaemon_live_event WHERE task_id = ? AND attempt = ? ORDER BY sequence DESC LIMIT 1
"""


def add_live_events(node: str, batches: Sequence[LiveEvents]) -> set[tuple[str, int]]:
    """See Store."""
    by_key = {(_key(each.task_id), each.attempt): each for each in batches}
    with connection.wrap_database_errors:
        held = connection.connection.execute(HELD, (encode(list(by_key)), node)).fetchall()
    kept = [by_key[row] for row in held]
    if kept:
        _insert(ADD, kept)
    return {(each.task_id, each.attempt) for each in kept}


def end_live_events(batches: Sequence[LiveEvents]) -> None:
    """See Store."""
    _insert(END, batches)


def end_lost_live_events(attempts: Sequence[tuple[UUID, int]], outcome: str) -> None:
    """See Store."""
    ends = []
    for task_id, attempt in attempts:
        with connection.wrap_database_errors:
            last = connection.connection.execute(LAST, (task_id.hex, attempt)).fetchone()
        if last is not None and last[1] != "end":
            ends.append(LiveEvents(str(task_id), attempt, last[0] + 1, [("end", {"outcome": outcome})]))
    if ends:
        _insert(ADD, ends)


def _insert(statement: str, batches: Sequence[LiveEvents]) -> None:
    moment = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    rows = [(_key(task_id), *rest) for task_id, *rest in rows_of(batches)]
    with connection.wrap_database_errors:
        connection.connection.execute(statement, (moment, encode(rows)))


def _key(task_id: str) -> str:
    return task_id.replace("-", "")
