"""Settle on PostgreSQL: one statement for the tasks, the attempts and the counters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import DataError, connection, transaction

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import Settled
from tasks_app.queue.postgresql.counters import add_counts
from tasks_app.queue.postgresql.json_columns import json_rows
from tasks_app.queue.postgresql.session import DIVISION_BY_ZERO, bare_writing
from tasks_app.queue.store import CountSettled

_COLUMNS = (
    "id uuid, number int, status text, result text, error text, reason text, pause float8, spent int, outcome text,"
    " container text, image text, exit_code int, oom bool, wait float8, seconds float8, out text, err text, size int"
)
# coalesce() keeps the planner from the partial index of running tasks: that looks small but is full of dead entries,
# which every settle would read. The time is read once for each task, or a pause of the server would give the task's row
# and the attempt's different ones.
_SETTLE = f"""
WITH d AS (
  SELECT d.*, clock_timestamp() AS moment FROM {json_rows(_COLUMNS, "d", count="$4::int")}
), kept AS (
  UPDATE taskdaemon_task AS t SET status = d.status, result = d.result::jsonb, result_size = d.size,
    failure_reason = d.reason, last_error = coalesce(d.error, t.last_error), retries = t.retries + d.spent,
    node = NULL, lease = NULL,
    due = CASE WHEN d.pause > 0 THEN extract(epoch from d.moment)::float8 + d.pause END,
    due_at = CASE WHEN d.pause > 0 THEN d.moment + d.pause * interval '1 second' END,
    ready_at = CASE WHEN d.status = 'pending' AND d.pause = 0 THEN d.moment ELSE t.ready_at END,
    completed_at = CASE WHEN d.status <> 'pending' THEN d.moment END
  FROM d WHERE t.id = d.id AND coalesce(t.status) = 'processing' AND t.attempts = d.number
  RETURNING d.*, t.started_at
), tried AS (
  INSERT INTO taskdaemon_attempt (task_id, number, node, container, image, started_at, ended_at, outcome, error,
    exit_code, oom, wait_seconds, seconds, stdout_tail, stderr_tail)
  SELECT id, number, $2, container, image, started_at, moment, outcome, coalesce(error, ''),
    exit_code, oom, wait, seconds, out, err FROM kept
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts) SELECT $3 WHERE (SELECT count(*) FROM kept) = $4::int
)
SELECT id::text, number, {{check}} FROM kept
"""
#: All or nothing without a transaction: if one task does not match, the statement divides by zero and has no effect.
SETTLE_ALL = _SETTLE.replace("{check}", "1 / ((SELECT count(*) FROM kept) = $4::int)::int")
SETTLE_ANY = _SETTLE.replace("{check}", "1")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def settle(node: str, settled: Sequence[Settled], count: CountSettled) -> set[tuple[str, int]]:
    """See Store."""
    # Usually every result is kept, and the statement adds the counts of all. Otherwise they are added afterwards.
    params = (_encode(_rows(settled)), node, _encode(count(settled, ())), len(settled))
    if not connection.in_atomic_block:
        try:
            kept = {(row[0], row[1]) for row in prepared(SETTLE_ALL, params)}
            if len(kept) == len(settled):
                return kept  # otherwise none matched, and the statement changed nothing
        except DataError as error:
            if getattr(error.__cause__, "sqlstate", None) != DIVISION_BY_ZERO:
                raise
    with transaction.atomic():
        kept = {(row[0], row[1]) for row in prepared(SETTLE_ANY, params)}
        if len(kept) != len(settled):
            dropped = [each for each, _ in settled if (each.task.id, each.task.attempt) not in kept]
            add_counts(count([pair for pair in settled if (pair[0].task.id, pair[0].task.attempt) in kept], dropped))
    return kept


def _rows(settled: Sequence[Settled]) -> list[dict[str, Any]]:
    rows = []
    for each, decision in settled:
        task = each.task
        row = {
            "id": task.id, "number": task.attempt, "status": decision.status, "pause": decision.pause,
            "spent": decision.spent, "outcome": each.kind.value, "container": each.container,
            "wait": task.known_wait, "seconds": each.seconds, "out": each.stdout_tail, "err": each.stderr_tail,
        }  # fmt: skip
        # A missing key is null in the statement.
        if each.result is not None:
            row["result"], row["size"] = each.result, each.result_size
        if each.image is not None:
            row |= {"image": each.image, "oom": each.oom}
        if each.error is not None or decision.reason is not None or each.exit_code is not None:
            row |= {"error": each.error, "reason": decision.reason, "exit_code": each.exit_code}
        rows.append(row)
    return rows


# Promote on PostgreSQL.

PROMOTE = f"""
UPDATE taskdaemon_task AS task
SET due = NULL, due_at = NULL, ready_at = clock_timestamp(), place = coalesce(ready.place, task.place)
FROM {json_rows("id uuid, place bigint", "ready")}
WHERE task.id = ready.id AND coalesce(task.status) = 'pending' AND coalesce(task.due) IS NOT NULL
"""


def promote(rows: Sequence[tuple[UUID, int | None]]) -> None:
    """See Store."""
    prepared(PROMOTE, (json.dumps([{"id": str(identity), "place": place} for identity, place in rows]),))


# Redrive many on PostgreSQL.

# coalesce() keeps the planner from the partial index of failed tasks: each task is read by its key.
REDRIVE = f"""
UPDATE taskdaemon_task AS task
SET status = 'pending', place = again.place, retries = 0, failure_reason = NULL, failure_group = NULL,
  completed_at = NULL, due = NULL, due_at = NULL, expires_at = NULL, ready_at = clock_timestamp()
FROM {json_rows("id uuid, place bigint", "again")}
WHERE task.id = again.id AND coalesce(task.status) = 'failed'
RETURNING task.id
"""


def redrive(rows: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """See Store."""
    text = json.dumps([{"id": str(identity), "place": place} for identity, place in rows])
    return {identity for (identity,) in prepared(REDRIVE, (text,))}


# Change the priority of many on PostgreSQL.

SET_PRIORITY = f"""
UPDATE taskdaemon_task AS task
SET priority = $2::int, place = coalesce(changed.place, task.place)
FROM {json_rows("id uuid, place bigint", "changed")}
WHERE task.id = changed.id AND coalesce(task.status) = 'pending'
RETURNING task.id
"""


def set_priority(rows: Sequence[tuple[UUID, int | None]], priority: int) -> set[UUID]:
    """See Store."""
    text = json.dumps([{"id": str(identity), "place": place} for identity, place in rows])
    return {identity for (identity,) in prepared(SET_PRIORITY, (text, priority))}


# Renew on PostgreSQL: one round trip, so that a slow network costs no lease.

_NOW = "extract(epoch from clock_timestamp())::float8"
# Only a running task has a node. LATERAL with a lock is not turned into a join, so each task is looked up by its key.
# SKIP LOCKED: a settle may lock the same rows in another order, and a drain the node's row.
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
    """See Store."""
    text = json.dumps([{"id": identity, "lease": seconds} for identity, seconds in leases.items()])
    with bare_writing(one_statement=True):
        return {(row[0], row[1]) for row in prepared(RENEW, (text, node))}
