"""Every move of a task on PostgreSQL except the claim, and its further rows: attempts, counters, live events.

Each is one statement, whose rows are one JSON text, because psycopg adapts each element of an array in Python.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from textwrap import fill
from typing import Any
from uuid import UUID

from django.db import DataError, connection, transaction

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import LiveEvents, Settled, rows_of
from tasks_app.queue.models import Task
from tasks_app.queue.postgresql.counters import add_counts
from tasks_app.queue.postgresql.session import DIVISION_BY_ZERO, bare_writing
from tasks_app.queue.sql import AGAIN, JSON_OPTIONS, NEW, OPTIONS
from tasks_app.queue.store import CountSettled
from tasks_app.queue.submission import IdempotencyKey, NewRow, NewTask, RequestName
from tasks_app.runner.wire import encode, stored_size


def json_rows(columns: str, alias: str, count: str = "json_array_length($1::json)") -> str:
    """The rows of the JSON array $1, for FROM. `columns`: names and types; `count`: how many there are, as SQL.

    The planner expects 100 such rows, a tenth of them after a LIMIT that it does not know, and so one after two. Then
    it looks each of them up by its key. With 100, a plan that is made while the table is small reads the whole table,
    and a session keeps that plan until the table is analyzed.
    """
    rows = f"SELECT * FROM json_to_recordset($1::json) AS listed({columns}) LIMIT {count}"
    return f"(SELECT * FROM ({rows}) AS tenth LIMIT {count}) AS {alias}"


# Insert: (none) -> pending.

#: A position is taken after its transaction has locked the table, as an INSERT does: see `horizon`.
LOCK = "LOCK TABLE taskdaemon_task IN ROW EXCLUSIVE MODE"
NEXT_POSITIONS = "SELECT nextval('taskdaemon_place') FROM generate_series(1, %s)"
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


def _listed(words: Iterable[str]) -> str:
    return fill(", ".join(words), 118, subsequent_indent="  ")


_TYPES = {
    "BigIntegerField": "bigint", "BooleanField": "boolean", "CharField": "text", "DateTimeField": "timestamptz",
    "FloatField": "float8", "IntegerField": "int", "JSONField": "jsonb", "SmallIntegerField": "smallint",
    "TextField": "text", "UUIDField": "uuid",
}  # fmt: skip
#: The values of a row with options, and their types.
_ROW = {
    "id": "uuid", "task_type": "text", "task_data": "jsonb", "priority": "int", "place": "bigint",
    "created_at": "timestamptz", "clock": "text", "size": "int",
    **{name: _TYPES[Task._meta.get_field(name).get_internal_type()] for name in OPTIONS},
}  # fmt: skip
_OPTIONS = _listed(OPTIONS)
#: `ORDER BY ordinal`: rows are stored, and unique keys waited for, in the order given.
INSERT_ROWS = f"""
INSERT INTO taskdaemon_task ({NEW},
  {_OPTIONS})
SELECT id, task_type, task_data, priority, 'pending', place, 0, 0, clock, '', created_at, created_at, size,
  {_OPTIONS}
FROM ROWS FROM (json_to_recordset($1::json) AS (
  {_listed(f"{name} {kind}" for name, kind in _ROW.items())}
)) WITH ORDINALITY AS n(
  {_listed(_ROW)}, ordinal)
ORDER BY ordinal
ON CONFLICT DO NOTHING
"""
INSERT_KEYED = f"""
WITH won AS (
  INSERT INTO taskdaemon_idempotency_key (owner, key, fingerprint, task_ids, expires_at, meaning)
  SELECT owner, key, fingerprint, task_ids, expires_at, meaning
  FROM ROWS FROM (json_to_recordset($1::json) AS (
      owner bigint, key text, fingerprint text, task_ids jsonb, expires_at timestamptz, meaning text
    )) WITH ORDINALITY AS k(owner, key, fingerprint, task_ids, expires_at, meaning, ordinal)
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


def next_positions(count: int) -> Sequence[int]:
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
        cursor.execute(NEXT_POSITIONS, [count])
        return [row[0] for row in cursor.fetchall()]


def insert(new: Sequence[NewTask], ids: Sequence[UUID]) -> None:
    rows = ",".join(
        f'{{"id":"{identity}","type":{encode(task.task_type)},"data":{task.text},"priority":{task.priority},'
        f'"size":{stored_size(task.text)}}}'
        for identity, task in zip(ids, new, strict=True)
    )
    received = Counter(f"received|{task.task_type}" for task in new)
    prepared(INSERT, (f"[{rows}]", encode(received)))


def insert_rows(rows: Sequence[NewRow]) -> None:
    prepared(INSERT_ROWS, ("[" + ",".join(map(_as_json, rows)) + "]",))


def _as_json(row: NewRow) -> str:
    values = {
        "id": row.id, "task_type": row.task_type, "priority": row.priority, "place": row.position,
        "created_at": row.created_at, "clock": row.clock, "due": row.due, "due_at": row.due_at,
        "size": stored_size(row.task_data), **row.options,
    }  # fmt: skip
    texts = {"task_data": row.task_data} | {name: values.pop(name) for name in JSON_OPTIONS & values.keys()}
    pairs = {name: _plain(value) for name, value in values.items()}
    return encode(pairs)[:-1] + "".join(f',"{name}":{text}' for name, text in texts.items()) + "}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) or value == math.inf else value


def insert_keyed(
    keys: Mapping[IdempotencyKey, range], until: datetime, new: Sequence[NewTask], ids: Sequence[UUID]
) -> set[RequestName]:
    rows = [
        {
            "owner": key.owner, "key": key.key, "fingerprint": "",
            "task_ids": [str(ids[at]) for at in tasks], "expires_at": until.isoformat(), "meaning": key.meaning,
        }
        for key, tasks in keys.items()
    ]  # fmt: skip
    of_task = {at: key for key, tasks in keys.items() for at in tasks}
    values = ",".join(
        f'{{"id":"{identity}","type":{encode(task.task_type)},"data":{task.text},"priority":{task.priority},'
        f'"size":{stored_size(task.text)},"owner":{of_task[at].owner},"key":{encode(of_task[at].key)}}}'
        for at, (identity, task) in enumerate(zip(ids, new, strict=True))
    )
    return set(prepared(INSERT_KEYED, (encode(rows), f"[{values}]")))


# Settle: processing -> as decided. One statement for the tasks, the attempts and the counters.

_SETTLED = (
    "id uuid, number int, status text, result text, error text, reason text, pause float8, spent int, outcome text,"
    " container text, image text, exit_code int, oom bool, wait float8, seconds float8, out text, err text, size int,"
    " revision text"
)
#: coalesce() keeps the planner from the partial index of running tasks: that looks small but is full of dead entries,
#: which every settle would read. The time is read once for each task, or a pause of the server would give the task's
#: row and the attempt's different ones.
_SETTLE = f"""
WITH d AS (
  SELECT d.*, clock_timestamp() AS moment FROM {json_rows(_SETTLED, "d", count="$4::int")}
), kept AS (
  UPDATE taskdaemon_task AS t SET status = d.status, result = d.result::jsonb, result_size = d.size,
    failure_reason = d.reason, last_error = coalesce(d.error, t.last_error), retries = t.retries + d.spent,
    node = NULL, lease = NULL,
    due = CASE WHEN d.pause > 0 THEN extract(epoch from d.moment)::float8 + d.pause END,
    due_at = CASE WHEN d.pause > 0 THEN d.moment + d.pause * interval '1 second' END,
    ready_at = CASE WHEN d.status = 'pending' AND d.pause = 0 THEN d.moment ELSE t.ready_at END,
    completed_at = CASE WHEN d.status <> 'pending' THEN d.moment END
  FROM d WHERE t.id = d.id AND coalesce(t.status) = 'processing' AND t.attempts = d.number{{whose}}
  RETURNING d.*, t.started_at
), tried AS (
  INSERT INTO taskdaemon_attempt (task_id, number, node, container, image, started_at, ended_at, outcome, error,
    exit_code, oom, wait_seconds, seconds, stdout_tail, stderr_tail, revision)
  SELECT id, number, $2, container, image, started_at, moment, outcome, coalesce(error, ''),
    exit_code, oom, wait, seconds, out, err, revision FROM kept
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts) SELECT $3 WHERE (SELECT count(*) FROM kept) = $4::int
)
SELECT id::text, number, {{check}} FROM kept
"""
#: Nothing in the node says whether a task is followed, and it may be so since its claim.
_UNFOLLOWED = "\n    AND t.followed IS NOT TRUE"
#: All or nothing without a transaction: if one task does not match, the statement divides by zero and has no effect.
SETTLE_ALL = _SETTLE.format(check="1 / ((SELECT count(*) FROM kept) = $4::int)::int", whose=_UNFOLLOWED)
SETTLE_ANY = _SETTLE.format(check="1", whose=_UNFOLLOWED)
SETTLE_FOLLOWED = _SETTLE.format(check="1", whose="")


def write_results(
    node: str, settled: Sequence[Settled], count: CountSettled, followed: bool = False
) -> set[tuple[str, int]]:
    # Usually every result is kept, and the statement adds the counts of all. Otherwise they are added afterwards.
    params = (encode(_rows(settled)), node, encode(count(settled, ())), len(settled))
    if not connection.in_atomic_block:  # nor `followed`
        try:
            kept = {(row[0], row[1]) for row in prepared(SETTLE_ALL, params)}
            if len(kept) == len(settled):
                return kept  # otherwise none matched, and the statement changed nothing
        except DataError as error:
            if getattr(error.__cause__, "sqlstate", None) != DIVISION_BY_ZERO:
                raise
    with transaction.atomic():
        kept = {(row[0], row[1]) for row in prepared(SETTLE_FOLLOWED if followed else SETTLE_ANY, params)}
        if len(kept) != len(settled):
            dropped = [result for result, _ in settled if (result.task.id, result.task.attempt) not in kept]
            add_counts(count([pair for pair in settled if (pair[0].task.id, pair[0].task.attempt) in kept], dropped))
    return kept


def _rows(settled: Sequence[Settled]) -> list[dict[str, Any]]:
    rows = []
    for result, decision in settled:
        task = result.task
        row = {
            "id": task.id, "number": task.attempt, "status": decision.status, "pause": decision.delay,
            "spent": decision.spent, "outcome": result.kind.value, "container": result.container,
            "wait": task.known_wait, "seconds": result.seconds, "out": result.stdout_tail, "err": result.stderr_tail,
        }  # fmt: skip
        # A missing key is null in the statement.
        if result.result is not None:
            row["result"], row["size"] = result.result, result.result_size
        if result.revision is not None:
            row["revision"] = result.revision
        if result.image is not None:
            row |= {"image": result.image, "oom": result.oom}
        if result.error is not None or decision.reason is not None or result.exit_code is not None:
            row |= {"error": result.error, "reason": decision.reason, "exit_code": result.exit_code}
        rows.append(row)
    return rows


# Renew: processing -> processing. One round trip, so that a slow network costs no lease.

_NOW = "extract(epoch from clock_timestamp())::float8"
#: Only a running task has a node. LATERAL with a lock is not turned into a join, so each task is looked up by its key.
#: SKIP LOCKED: a settle may lock the same rows in another order, and a drain the node's row.
RENEW = f"""
WITH alive AS (
  UPDATE taskdaemon_node SET seen_at = clock_timestamp(), seen = {_NOW}, clock = 'server'
  WHERE name = (SELECT name FROM taskdaemon_node WHERE name = $2::text FOR NO KEY UPDATE SKIP LOCKED)
), kept AS (
  SELECT listed.id, listed.lease FROM {json_rows("id uuid, lease float8", "listed")}
  CROSS JOIN LATERAL (
    SELECT FROM taskdaemon_task AS task WHERE task.id = listed.id AND task.node = $2::text
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS running
)
UPDATE taskdaemon_task AS task SET lease = {_NOW} + kept.lease, clock = 'server'
FROM kept WHERE task.id = kept.id
RETURNING task.id::text, task.attempts
"""


def renew(node: str, leases: Mapping[str, float]) -> set[tuple[str, int]]:
    text = json.dumps([{"id": identity, "lease": seconds} for identity, seconds in leases.items()])
    with bare_writing(one_statement=True):
        return {(row[0], row[1]) for row in prepared(RENEW, (text, node))}


# Promote, redrive many, change the priority of many.

PROMOTE = f"""
UPDATE taskdaemon_task AS task
SET due = NULL, due_at = NULL, ready_at = clock_timestamp(), place = coalesce(ready.place, task.place)
FROM {json_rows("id uuid, place bigint", "ready")}
WHERE task.id = ready.id AND coalesce(task.status) = 'pending' AND coalesce(task.due) IS NOT NULL
"""
#: The numbers are arbitrary; `scan_start` has (7468, 2). No row: a first one, or one that was removed, would have to be
#: inserted, and two that insert it wait for each other.
PROMOTER = "SELECT pg_try_advisory_xact_lock(7468, 3)"
#: coalesce() keeps the planner from the partial index of failed tasks: each task is read by its key.
REDRIVE = f"""
UPDATE taskdaemon_task AS task
SET {AGAIN}, place = again.place, ready_at = clock_timestamp()
FROM {json_rows("id uuid, place bigint", "again")}
WHERE task.id = again.id AND coalesce(task.status) = 'failed'
RETURNING task.id
"""
SET_PRIORITY = f"""
UPDATE taskdaemon_task AS task
SET priority = $2::int, place = coalesce(changed.place, task.place)
FROM {json_rows("id uuid, place bigint", "changed")}
WHERE task.id = changed.id AND coalesce(task.status) = 'pending'
RETURNING task.id
"""


def may_promote() -> bool:
    [(alone,)] = prepared(PROMOTER, ())
    return bool(alone)


def promote(rows: Sequence[tuple[UUID, int | None]]) -> None:
    prepared(PROMOTE, (_with_positions(rows),))


def redrive(rows: Sequence[tuple[UUID, int]]) -> set[UUID]:
    return {identity for (identity,) in prepared(REDRIVE, (_with_positions(rows),))}


def set_priority(rows: Sequence[tuple[UUID, int | None]], priority: int) -> set[UUID]:
    return {identity for (identity,) in prepared(SET_PRIORITY, (_with_positions(rows), priority))}


def _with_positions(rows: Sequence[tuple[UUID, int | None]]) -> str:
    return json.dumps([{"id": str(identity), "place": position} for identity, position in rows])


# Live events. They move no task.

_EVENT = "task_id, attempt, sequence, kind, body, container, at"
#: Only a running task has a node. Each is looked up by its key: LATERAL with a lock is not turned into a join. The lock
#: keeps a rescue from ending the attempt before the rows are committed. It holds up no settle, and waits for nothing.
ADD_EVENTS = f"""
WITH held AS (
  SELECT d.id, d.attempt FROM json_to_recordset($1::json) AS d(id uuid, attempt int)
  CROSS JOIN LATERAL (
    SELECT FROM taskdaemon_task AS task
    WHERE task.id = d.id AND task.attempts = d.attempt AND task.node = $3::text
    FOR KEY SHARE SKIP LOCKED
  ) AS running
), added AS (
  INSERT INTO taskdaemon_live_event ({_EVENT})
  SELECT d.task, d.attempt, d.sequence, d.kind, d.body, d.container, clock_timestamp()
  FROM json_to_recordset($2::json) AS
    d(task uuid, attempt int, sequence int, kind text, body jsonb, container text)
  WHERE (d.task, d.attempt) IN (SELECT id, attempt FROM held)
  ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
)
SELECT id::text, attempt FROM held
"""
END_EVENTS = f"""
INSERT INTO taskdaemon_live_event ({_EVENT})
SELECT d.task, d.attempt, d.sequence, d.kind, d.body, d.container, clock_timestamp()
FROM json_to_recordset($1::json) AS
  d(task uuid, attempt int, sequence int, kind text, body jsonb, container text)
WHERE NOT EXISTS (SELECT FROM taskdaemon_live_event AS event
    WHERE event.task_id = d.task AND event.attempt = d.attempt AND event.kind = 'end')
ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
"""


def add_live_events(node: str, batches: Sequence[LiveEvents]) -> set[tuple[str, int]]:
    attempts = [{"id": batch.task_id, "attempt": batch.attempt} for batch in batches]
    return {(row[0], row[1]) for row in prepared(ADD_EVENTS, (encode(attempts), _event_rows(batches), node))}


def end_live_events(batches: Sequence[LiveEvents]) -> None:
    prepared(END_EVENTS, (_event_rows(batches),))


def _event_rows(batches: Sequence[LiveEvents]) -> str:
    names = ("task", "attempt", "sequence", "kind", "body", "container")
    return encode([dict(zip(names, row, strict=True)) for row in rows_of(batches)])
