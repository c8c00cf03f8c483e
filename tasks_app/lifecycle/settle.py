"""settle: processing -> completed, failed or pending again. Many at once: one statement, one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection, transaction

from tasks_app import clock
from tasks_app.lifecycle.claimed import Claimed
from tasks_app.lifecycle.verdict import Verdict, verdict
from tasks_app.metrics import counters
from tasks_app.models import OutcomeKind, Status
from tasks_app.write_lock import writing


@dataclass(frozen=True)
class Ended:
    """What one claimed attempt came to. `result` is JSON text; `seconds` is the time the handler had the line."""

    task: Claimed
    kind: OutcomeKind
    result: str | None = None
    error: str | None = None
    retryable: bool = True
    container: str = ""
    exit_code: int | None = None
    seconds: float | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""

    def verdict(self) -> Verdict:
        """Where the task goes now."""
        return verdict(self.kind, self.task.retries, self.task.policy, self.retryable)


_POSTGRESQL = """
WITH d AS (
  SELECT * FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::float8[], %s::int[],
    %s::text[], %s::text[], %s::int[], %s::float8[], %s::text[], %s::text[])
  AS d(id, number, status, result, error, reason, pause, spent, outcome, container, exit_code, seconds, out, err)
), kept AS (
  UPDATE taskdaemon_task AS t SET status = d.status, result = d.result::jsonb, failure_reason = d.reason,
    last_error = coalesce(d.error, t.last_error), retries = t.retries + d.spent, node = NULL, lease = NULL,
    due = CASE WHEN d.pause > 0 THEN extract(epoch from clock_timestamp())::float8 + d.pause END,
    due_at = CASE WHEN d.pause > 0 THEN clock_timestamp() + d.pause * interval '1 second' END,
    ready_at = CASE WHEN d.status = 'pending' AND d.pause = 0 THEN clock_timestamp() ELSE t.ready_at END,
    completed_at = CASE WHEN d.status <> 'pending' THEN clock_timestamp() END
  FROM d WHERE t.id = d.id AND t.status = 'processing' AND t.attempts = d.number
  RETURNING t.id, t.attempts, t.started_at
), tried AS (
  INSERT INTO taskdaemon_attempt (task_id, number, node, container, started_at, ended_at, outcome, error, exit_code,
    seconds, stdout_tail, stderr_tail)
  SELECT d.id, d.number, %s, d.container, kept.started_at, clock_timestamp(), d.outcome, coalesce(d.error, ''),
    d.exit_code, d.seconds, d.out, d.err FROM kept JOIN d ON d.id = kept.id AND d.number = kept.attempts
), counted AS (
  INSERT INTO taskdaemon_counter (slot, series, value)
  SELECT %s, c.series, sum(c.delta) FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::bigint[])
    AS c(id, number, series, delta) JOIN kept ON kept.id = c.id AND kept.attempts = c.number
  GROUP BY c.series ORDER BY c.series
  ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value
)
SELECT id::text, attempts FROM kept
"""
_SQLITE = """
UPDATE taskdaemon_task SET status = ?, result = ?, failure_reason = ?, last_error = coalesce(?, last_error),
  retries = retries + ?, node = NULL, lease = NULL, due = ?, due_at = ?, ready_at = coalesce(?, ready_at),
  completed_at = ?
WHERE id = ? AND status = 'processing' AND attempts = ?
RETURNING CAST(started_at AS TEXT)
"""
_SQLITE_TRY = """
INSERT INTO taskdaemon_attempt (task_id, number, node, container, started_at, ended_at, outcome, error, exit_code,
  seconds, stdout_tail, stderr_tail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def settle(node: str, ended: Sequence[Ended]) -> set[tuple[str, int]]:
    """Move tasks out of `processing`, with the attempt row and the counters, in one durable commit.

    Answers which (id, attempt) were kept. One that was not had been taken away meanwhile (deleted, cancelled, taken
    over): its result is dropped and counted as stale.
    """
    if not ended:
        return set()
    if connection.vendor == "postgresql":
        kept = _settle_postgresql(node, ended)
    else:
        kept = _settle_sqlite(node, ended)
    return kept


def counted(end: Ended, decided: Verdict) -> list[tuple[str, int]]:
    """What an ended attempt adds to the counters."""
    name = end.task.task_type
    deltas = [(f"attempts|{name}|{end.kind}", 1)]
    if decided.status == Status.COMPLETED:
        deltas.append((f"completed|{name}", 1))
    elif decided.status == Status.FAILED:
        deltas.append((f"failed|{name}|{decided.reason}", 1))
    elif decided.spent:
        deltas.append((f"retried|{name}", 1))
    deltas += counters.observed("wait", name, end.task.wait)
    if end.seconds is not None:
        deltas += counters.observed("run", f"{name}|{end.kind}", end.seconds)
    return deltas


def _settle_postgresql(node: str, ended: Sequence[Ended]) -> set[tuple[str, int]]:
    rows, counts = [], []
    for end in ended:
        v = end.verdict()
        rows.append(
            (
                end.task.id, end.task.attempt, str(v.status), end.result, end.error, v.reason and str(v.reason), v.pause,
                v.spent, str(end.kind), end.container, end.exit_code, end.seconds, end.stdout_tail, end.stderr_tail,
            )  # fmt: skip
        )
        counts += [(end.task.id, end.task.attempt, *delta) for delta in counted(end, v)]
    params: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    params += [node, counters.slot(), *(list(column) for column in zip(*counts, strict=True))]
    with transaction.atomic():
        with psycopg.Cursor(connection.connection) as cursor:
            cursor.execute(_POSTGRESQL, params, prepare=True)
            kept = {(row[0], row[1]) for row in cursor.fetchall()}
        counters.add([(f"stale|{end.task.task_type}", 1) for end in ended if (end.task.id, end.task.attempt) not in kept])
    return kept


def _settle_sqlite(node: str, ended: Sequence[Ended]) -> set[tuple[str, int]]:
    kept: set[tuple[str, int]] = set()
    tries, counts = [], []
    with writing():
        raw = connection.connection
        wall = datetime.now(UTC).replace(tzinfo=None)
        moment = wall.isoformat(" ", "microseconds")
        boot = clock.reading()
        for end in ended:
            v = end.verdict()
            key = UUID(end.task.id).hex
            waits = v.pause > 0
            row = raw.execute(
                _SQLITE,
                (
                    str(v.status), end.result, v.reason and str(v.reason), end.error, v.spent,
                    boot + v.pause if waits else None,
                    (wall + timedelta(seconds=v.pause)).isoformat(" ", "microseconds") if waits else None,
                    moment if v.status == Status.PENDING and not waits else None,
                    None if v.status == Status.PENDING else moment,
                    key, end.task.attempt,
                ),
            ).fetchone()  # fmt: skip
            if row is None:
                counts.append((f"stale|{end.task.task_type}", 1))
                continue
            kept.add((end.task.id, end.task.attempt))
            counts += counted(end, v)
            tries.append(
                (
                    key, end.task.attempt, node, end.container, row[0], moment, str(end.kind), end.error or "",
                    end.exit_code, end.seconds, end.stdout_tail, end.stderr_tail,
                )  # fmt: skip
            )
        raw.executemany(_SQLITE_TRY, tries)
        counters.add(counts)
    return kept
