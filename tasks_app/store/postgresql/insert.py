"""Insert on PostgreSQL: one statement for the tasks, their positions and the counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.new_task import NewTask, encode
from tasks_app.store.sql import NEW

INSERT = f"""
WITH new AS (
  SELECT id, task_type, task_data, priority, ordinal
  FROM ROWS FROM (json_to_recordset($1::json) AS (id uuid, type text, data jsonb, priority int))
    WITH ORDINALITY AS n(id, task_type, task_data, priority, ordinal)
  ORDER BY ordinal
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts) VALUES ($2)
)
INSERT INTO taskdaemon_task ({NEW})
SELECT id, task_type, task_data, priority, 'pending', nextval('taskdaemon_place'), 0, 0, '', '',
  clock_timestamp(), clock_timestamp() FROM new
"""
#: A position is taken after its transaction has locked the table, as an INSERT does: see `horizon`.
LOCK = "LOCK TABLE taskdaemon_task IN ROW EXCLUSIVE MODE"
NEXT_POSITIONS = "SELECT nextval('taskdaemon_place') FROM generate_series(1, %s)"


def insert(new: Sequence[NewTask], ids: Sequence[UUID], texts: Sequence[str]) -> None:
    """See Store."""
    # One JSON text, because psycopg adapts each element of an array in Python.
    rows = ",".join(
        f'{{"id":"{identity}","type":{encode(each.task_type)},"data":{text},"priority":{each.priority}}}'
        for identity, each, text in zip(ids, new, texts, strict=True)
    )
    received = Counter(f"received|{each.task_type}" for each in new)
    prepared(INSERT, (f"[{rows}]", encode(received)))


def next_positions(count: int) -> Sequence[int]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
        cursor.execute(NEXT_POSITIONS, [count])
        return [row[0] for row in cursor.fetchall()]
