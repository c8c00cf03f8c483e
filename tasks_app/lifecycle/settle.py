"""settle: processing -> completed, failed or pending again. Many at once: one statement, one commit."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import psycopg
from django.db import DatabaseError, connection, transaction

from tasks_app import clock
from tasks_app.lifecycle.claimed import Claimed
from tasks_app.lifecycle.verdict import Verdict, verdict
from tasks_app.metrics import counters
from tasks_app.models import OutcomeKind, Status
from tasks_app.write_lock import writing


@dataclass(frozen=True)
class Ended:
    """What one claimed attempt came to. `result` is JSON text; `seconds` is the time the handler had the line.

    `image`: its container's, by id. `oom`: whether the engine said so; None where no engine can.
    """

    task: Claimed
    kind: OutcomeKind
    result: str | None = None
    error: str | None = None
    retryable: bool = True
    container: str = ""
    image: str | None = None
    exit_code: int | None = None
    oom: bool | None = None
    seconds: float | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""

    def verdict(self) -> Verdict:
        """Where the task goes now."""
        return verdict(self.kind, self.task.retries, self.task.policy, self.retryable)


_POSTGRESQL = """
WITH d AS (
  SELECT * FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::float8[], %s::int[],
    %s::text[], %s::text[], %s::text[], %s::int[], %s::bool[], %s::float8[], %s::float8[], %s::text[], %s::text[])
  AS d(id, number, status, result, error, reason, pause, spent, outcome, container, image, exit_code, oom, wait,
    seconds, out, err)
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
  INSERT INTO taskdaemon_attempt (task_id, number, node, container, image, started_at, ended_at, outcome, error,
    exit_code, oom, wait_seconds, seconds, stdout_tail, stderr_tail)
  SELECT d.id, d.number, %s, d.container, d.image, kept.started_at, clock_timestamp(), d.outcome, coalesce(d.error, ''),
    d.exit_code, d.oom, d.wait, d.seconds, d.out, d.err FROM kept JOIN d ON d.id = kept.id AND d.number = kept.attempts
), counted AS (
  INSERT INTO taskdaemon_counter (slot, series, value)
  SELECT %s, c.series, c.delta FROM unnest(%s::text[], %s::bigint[]) WITH ORDINALITY AS c(series, delta, nth)
  WHERE (SELECT count(*) FROM kept) = %s ORDER BY c.nth
  ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value
)
SELECT id::text, attempts FROM kept
"""
# SQLite's driver gives up the interpreter at every step of a statement, and with busy slot threads it is not had back
# at once: so one statement a batch, whatever its size. The batch goes over as one JSON array.
_SQLITE_OURS = """
SELECT json_group_array(json_array(t.id, t.attempts)) FROM json_each(?) AS d JOIN taskdaemon_task AS t
  ON t.id = json_extract(d.value, '$[0]') AND t.status = 'processing' AND t.attempts = json_extract(d.value, '$[1]')
"""
_SQLITE = """
UPDATE taskdaemon_task SET status = json_extract(d.value, '$[2]'), result = json_extract(d.value, '$[3]'),
  failure_reason = json_extract(d.value, '$[4]'), last_error = coalesce(json_extract(d.value, '$[5]'), last_error),
  retries = retries + json_extract(d.value, '$[6]'), node = NULL, lease = NULL, due = json_extract(d.value, '$[7]'),
  due_at = json_extract(d.value, '$[8]'), ready_at = coalesce(json_extract(d.value, '$[9]'), ready_at),
  completed_at = json_extract(d.value, '$[10]')
FROM json_each(?) AS d
WHERE taskdaemon_task.id = json_extract(d.value, '$[0]') AND status = 'processing'
  AND attempts = json_extract(d.value, '$[1]')
"""
_SQLITE_TRIES = """
INSERT INTO taskdaemon_attempt (task_id, number, node, container, started_at, ended_at, outcome, error, exit_code,
  seconds, stdout_tail, stderr_tail, image, oom, wait_seconds)
SELECT t.id, json_extract(d.value, '$[1]'), ?, json_extract(d.value, '$[11]'), t.started_at, ?,
  json_extract(d.value, '$[12]'), coalesce(json_extract(d.value, '$[5]'), ''), json_extract(d.value, '$[13]'),
  json_extract(d.value, '$[14]'), json_extract(d.value, '$[15]'), json_extract(d.value, '$[16]'),
  json_extract(d.value, '$[17]'), json_extract(d.value, '$[18]'), json_extract(d.value, '$[19]')
FROM json_each(?) AS d JOIN taskdaemon_task AS t ON t.id = json_extract(d.value, '$[0]') ORDER BY d.key
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
                end.image,
                end.exit_code,
                end.oom,
                end.task.known_wait,
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
    counts: dict[str, int] = {}
    rows = []
    with writing():
        now = time.monotonic()
        raw = connection.connection
        wall = datetime.now(UTC).replace(tzinfo=None)
        moment = wall.isoformat(" ", "microseconds")
        boot = clock.reading()
        keys = [(end.task.id.replace("-", ""), end.task.attempt) for end in ended]
        # The lock is held: what is ours now is ours at the update.
        ours = {tuple(key) for key in json.loads(raw.execute(_SQLITE_OURS, (json.dumps(keys),)).fetchone()[0])}
        for end, key in zip(ended, keys, strict=True):
            if key not in ours:
                _count_stale(counts, end)
                continue
            v = end.verdict()
            waits, again = v.pause > 0, v.status == Status.PENDING
            count(counts, end, v, now)
            rows.append(
                (
                    *key, str(v.status), end.result, v.reason and str(v.reason), end.error, v.spent,
                    boot + v.pause if waits else None,
                    (wall + timedelta(seconds=v.pause)).isoformat(" ", "microseconds") if waits else None,
                    moment if again and not waits else None,
                    None if again else moment,
                    end.container, str(end.kind), end.exit_code, end.seconds, end.stdout_tail, end.stderr_tail,
                    end.image, end.oom, end.task.known_wait,
                )
            )  # fmt: skip
        if rows:
            batch = json.dumps(rows, ensure_ascii=False)
            if raw.execute(_SQLITE, (batch,)).rowcount != len(rows):
                raise DatabaseError("a task moved while the write lock was held: is something else writing?")
            raw.execute(_SQLITE_TRIES, (node, moment, batch))
        counters.add(counts)
    return {(end.task.id, end.task.attempt) for end, key in zip(ended, keys, strict=True) if key in ours}
