"""settle: processing -> completed, failed or pending again. Many at once: one statement, one commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
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
  SELECT %s, c.series, c.delta FROM unnest(%s::text[], %s::bigint[]) WITH ORDINALITY AS c(series, delta, nth)
  WHERE (SELECT count(*) FROM kept) = %s ORDER BY c.nth
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
    return (_settle_postgresql if connection.vendor == "postgresql" else _settle_sqlite)(node, ended)


@lru_cache(maxsize=4096)
def _moves(name: str, kind: OutcomeKind, status: str, reason: str | None, spent: int) -> tuple[str, tuple[str, ...]]:
    """The labels of an attempt's histograms, and the counters that grow by one."""
    grow = [f"attempts|{name}|{kind}"]
    if status == Status.COMPLETED:
        grow.append(f"completed|{name}")
    elif status == Status.FAILED:
        grow.append(f"failed|{name}|{reason}")
    elif spent:
        grow.append(f"retried|{name}")
    return f"{name}|{kind}", tuple(grow)


def count(into: dict[str, int], end: Ended, decided: Verdict, now: float) -> None:
    """Add what an ended attempt adds to the counters. `now` on the monotonic clock."""
    labels, grow = _moves(end.task.task_type, end.kind, decided.status, decided.reason, decided.spent)
    for series in grow:
        into[series] = into.get(series, 0) + 1
    counters.observe(into, "wait", labels, end.task.wait)
    if end.seconds is not None:
        counters.observe(into, "run", labels, end.seconds)
        if end.task.sent_at is not None:
            counters.observe(into, "over", labels, now - end.task.sent_at - end.seconds)


def _settle_postgresql(node: str, ended: Sequence[Ended]) -> set[tuple[str, int]]:
    rows, verdicts = [], []
    counts: dict[str, int] = {}
    now = time.monotonic()
    for end in ended:
        v = end.verdict()
        verdicts.append(v)
        count(counts, end, v, now)
        rows.append(
            (
                end.task.id,
                end.task.attempt,
                str(v.status),
                end.result,
                end.error,
                v.reason and str(v.reason),
                v.pause,
                v.spent,
                str(end.kind),
                end.container,
                end.exit_code,
                end.seconds,
                end.stdout_tail,
                end.stderr_tail,
            )
        )
    params: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    deltas = counters.merged(counts)
    # Nearly always all are kept, and their counts go along merged; otherwise they are counted after the fact.
    params += [node, counters.slot(), [series for series, _ in deltas], [delta for _, delta in deltas], len(ended)]
    with transaction.atomic():
        with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
            cursor.execute(_POSTGRESQL, params, prepare=True)
            kept = {(row[0], row[1]) for row in cursor.fetchall()}
        if len(kept) != len(ended):
            counts = {}
            for end, v in zip(ended, verdicts, strict=True):
                if (end.task.id, end.task.attempt) in kept:
                    count(counts, end, v, now)
                else:
                    _count_stale(counts, end)
            counters.add(counts)
    return kept


def _count_stale(into: dict[str, int], end: Ended) -> None:
    series = f"stale|{end.task.task_type}"
    into[series] = into.get(series, 0) + 1


def _settle_sqlite(node: str, ended: Sequence[Ended]) -> set[tuple[str, int]]:
    kept: set[tuple[str, int]] = set()
    tries = []
    counts: dict[str, int] = {}
    with writing():
        now = time.monotonic()
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
                _count_stale(counts, end)
                continue
            kept.add((end.task.id, end.task.attempt))
            count(counts, end, v, now)
            tries.append(
                (
                    key,
                    end.task.attempt,
                    node,
                    end.container,
                    row[0],
                    moment,
                    str(end.kind),
                    end.error or "",
                    end.exit_code,
                    end.seconds,
                    end.stdout_tail,
                    end.stderr_tail,
                )
            )
        raw.executemany(_SQLITE_TRY, tries)
        counters.add(counts)
    return kept
