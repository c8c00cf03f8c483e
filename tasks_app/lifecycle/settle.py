"""settle: processing -> completed, failed or pending again. Many at once: one statement, one commit."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import DataError, connection, transaction

from tasks_app import clock
from tasks_app.lifecycle.claimed import Claimed
from tasks_app.lifecycle.server import prepared
from tasks_app.lifecycle.verdict import COMPLETED, Verdict, verdict
from tasks_app.metrics import counters
from tasks_app.models import OutcomeKind, Status
from tasks_app.write_lock import writing


class Ended(NamedTuple):
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


# The status is asked for in a way that fits no partial index: the one of what runs is small to the planner, and full of
# dead entries, which it would read at every settle.
_POSTGRESQL = """
WITH d AS (
  SELECT * FROM json_to_recordset($1::json) AS d(id uuid, number int, status text, result text, error text, reason text,
    pause float8, spent int, outcome text, container text, image text, exit_code int, oom bool, wait float8,
    seconds float8, out text, err text)
), kept AS (
  UPDATE taskdaemon_task AS t SET status = d.status, result = d.result::jsonb, failure_reason = d.reason,
    last_error = coalesce(d.error, t.last_error), retries = t.retries + d.spent, node = NULL, lease = NULL,
    due = CASE WHEN d.pause > 0 THEN extract(epoch from clock_timestamp())::float8 + d.pause END,
    due_at = CASE WHEN d.pause > 0 THEN clock_timestamp() + d.pause * interval '1 second' END,
    ready_at = CASE WHEN d.status = 'pending' AND d.pause = 0 THEN clock_timestamp() ELSE t.ready_at END,
    completed_at = CASE WHEN d.status <> 'pending' THEN clock_timestamp() END
  FROM d WHERE t.id = d.id AND coalesce(t.status) = 'processing' AND t.attempts = d.number
  RETURNING d.*, t.started_at
), tried AS (
  INSERT INTO taskdaemon_attempt (task_id, number, node, container, image, started_at, ended_at, outcome, error,
    exit_code, oom, wait_seconds, seconds, stdout_tail, stderr_tail)
  SELECT id, number, $2, container, image, started_at, clock_timestamp(), outcome, coalesce(error, ''),
    exit_code, oom, wait, seconds, out, err FROM kept
), counted AS (
  INSERT INTO taskdaemon_counter (slot, series, value)
  SELECT $3::smallint, key, value::bigint FROM json_each_text($4::json)
  WHERE (SELECT count(*) FROM kept) = $5
  ORDER BY key COLLATE "C"
  ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value
)
SELECT id::text, number, {whole} FROM kept
"""
#: All or nothing without a transaction around it: if one is not kept, the statement fails and undoes itself.
_WHOLE = _POSTGRESQL.replace("{whole}", "1 / ((SELECT count(*) FROM kept) = $5)::int")
_PARTS = _POSTGRESQL.replace("{whole}", "1")
_NOT_WHOLE = "22012"  # division by zero
_SQLITE = """
UPDATE taskdaemon_task SET status = ?3, result = ?4, failure_reason = ?5, last_error = coalesce(?6, last_error),
  retries = retries + ?7, node = NULL, lease = NULL, due = ?8, due_at = ?9, ready_at = coalesce(?10, ready_at),
  completed_at = ?11
WHERE id = ?1 AND status = 'processing' AND attempts = ?2
"""
#: The same of a success: a running row has no due, no reason and, as a rule, nothing else to take back.
_SQLITE_DONE = """
UPDATE taskdaemon_task SET status = 'completed', result = ?3, node = NULL, lease = NULL, due_at = NULL,
  completed_at = ?4
WHERE id = ?1 AND status = 'processing' AND attempts = ?2
"""
_SQLITE_TRIES = """
INSERT INTO taskdaemon_attempt (task_id, number, node, container, started_at, ended_at, outcome, error, exit_code,
  seconds, stdout_tail, stderr_tail, image, oom, wait_seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def settle(node: str, ended: Sequence[Ended]) -> set[tuple[str, int]]:
    """Move tasks out of `processing`, with the attempt row and the counters, in one durable commit.

    Answers which (id, attempt) were kept. One that was not had been taken away meanwhile (deleted, cancelled, taken
    over): its result is dropped and counted as stale.
    """
    if not ended:
        return set()
    # One attempt may have ended twice, if a crash of the database took its claim back and it was begun again.
    first = {(end.task.id, end.task.attempt): end for end in reversed(ended)}
    if len(first) != len(ended):
        ended = [*reversed(first.values())]
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


def count_all(into: dict[str, int], kept: Sequence[tuple[Ended, Verdict]], now: float) -> None:
    """Add what ended attempts add to the counters. `now` on the monotonic clock."""
    by_labels: dict[str, tuple[list[float], list[float], list[float]]] = {}
    for end, decided in kept:
        task = end.task
        labels, grow = _moves(task.task_type, end.kind, decided.status, decided.reason, decided.spent)
        for series in grow:
            into[series] = into.get(series, 0) + 1
        if (seen := by_labels.get(labels)) is None:
            seen = by_labels[labels] = ([], [], [])
        seen[0].append(task.wait)
        if end.seconds is not None:
            seen[1].append(end.seconds)
            if task.sent_at is not None:
                seen[2].append(now - task.sent_at - end.seconds)
    for labels, (waits, runs, overs) in by_labels.items():
        for name, seconds in (("wait", waits), ("run", runs), ("over", overs)):
            if seconds:
                counters.observe_all(into, name, labels, seconds)


def _settle_postgresql(node: str, ended: Sequence[Ended]) -> set[tuple[str, int]]:
    rows: list[dict[str, Any]] = []
    verdicts: list[tuple[Ended, Verdict]] = []
    counts: dict[str, int] = {}
    now = time.monotonic()
    for end in ended:
        task, v = end.task, end.verdict()
        verdicts.append((end, v))
        # What is left out is null.
        row = {
            "id": task.id, "number": task.attempt, "status": v.status, "pause": v.pause, "spent": v.spent,
            "outcome": end.kind.value, "container": end.container, "wait": task.known_wait, "seconds": end.seconds,
            "out": end.stdout_tail, "err": end.stderr_tail,
        }  # fmt: skip
        if end.result is not None:
            row["result"] = end.result
        if end.image is not None:
            row |= {"image": end.image, "oom": end.oom}
        if end.error is not None or v.reason is not None or end.exit_code is not None:
            row |= {"error": end.error, "reason": v.reason, "exit_code": end.exit_code}
        rows.append(row)
    count_all(counts, verdicts, now)
    # Nearly always all are kept, and their counts go along merged; otherwise they are counted after the fact.
    params = (_encode(rows), node, counters.slot(), _encode(counts), len(ended))
    if not connection.in_atomic_block:
        try:
            kept = {(row[0], row[1]) for row in prepared(_WHOLE, params)}
            if len(kept) == len(ended):
                return kept  # else none of them was, and nothing was done
        except DataError as error:
            if getattr(error.__cause__, "sqlstate", None) != _NOT_WHOLE:
                raise
    with transaction.atomic():
        kept = {(row[0], row[1]) for row in prepared(_PARTS, params)}
        if len(kept) != len(ended):
            counts = {}
            for end in ended:
                if (end.task.id, end.task.attempt) not in kept:
                    _count_stale(counts, end)
            count_all(counts, [each for each in verdicts if (each[0].task.id, each[0].task.attempt) in kept], now)
            counters.add(counts)
    return kept


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _count_stale(into: dict[str, int], end: Ended) -> None:
    series = f"stale|{end.task.task_type}"
    into[series] = into.get(series, 0) + 1


def _settle_sqlite(node: str, ended: Sequence[Ended]) -> set[tuple[str, int]]:
    kept: list[tuple[Ended, Verdict]] = []
    tries: list[tuple[Any, ...]] = []
    counts: dict[str, int] = {}
    with writing():
        raw = connection.connection
        execute = raw.cursor().execute
        wall = datetime.now(UTC).replace(tzinfo=None)
        moment = wall.isoformat(" ", "microseconds")
        for end in ended:
            task, kind, v = end.task, end.kind, end.verdict()
            key, number = task.id.replace("-", ""), task.attempt
            if v is COMPLETED and end.error is None:
                moved = execute(_SQLITE_DONE, (key, number, end.result, moment)).rowcount
            else:
                waits, again = v.pause > 0, v.status == Status.PENDING
                moved = execute(_SQLITE, (
                    key, number, v.status, end.result, v.reason, end.error, v.spent,
                    clock.reading() + v.pause if waits else None,
                    (wall + timedelta(seconds=v.pause)).isoformat(" ", "microseconds") if waits else None,
                    moment if again and not waits else None,
                    None if again else moment,
                )).rowcount  # fmt: skip
            if not moved:
                _count_stale(counts, end)
                continue
            kept.append((end, v))
            tries.append((
                key, number, node, end.container, task.started_at, moment, kind._value_, end.error or "", end.exit_code,
                end.seconds, end.stdout_tail, end.stderr_tail, end.image, end.oom, task.known_wait,
            ))  # fmt: skip
        raw.executemany(_SQLITE_TRIES, tries)
        count_all(counts, kept, time.monotonic())
        counters.add(counts)
    if len(kept) == len(ended):
        return {(end.task.id, end.task.attempt) for end in ended}
    return {(end.task.id, end.task.attempt) for end, _ in kept}
