"""Settle on SQLite: a statement for each task, one for all attempts and one for all counters, under one lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks_app.db.sqlite.write_lock import writing
from tasks_app.models import Status
from tasks_app.store.attempt_result import COMPLETED, AttemptResult, Settled
from tasks_app.store.sqlite import clock
from tasks_app.store.sqlite.counters import add_counts
from tasks_app.store.store import CountSettled

SETTLE = """
UPDATE taskdaemon_task SET status = ?3, result = ?4, failure_reason = ?5, last_error = coalesce(?6, last_error),
  retries = retries + ?7, node = NULL, lease = NULL, due = ?8, due_at = ?9, ready_at = coalesce(?10, ready_at),
  completed_at = ?11, result_size = ?12
WHERE id = ?1 AND status = 'processing' AND attempts = ?2
"""
#: For a success: a running row has no due time and no reason to reset.
SETTLE_COMPLETED = """
UPDATE taskdaemon_task SET status = 'completed', result = ?3, node = NULL, lease = NULL, due_at = NULL,
  completed_at = ?4, result_size = ?5
WHERE id = ?1 AND status = 'processing' AND attempts = ?2
"""
INSERT_ATTEMPT = """
INSERT INTO taskdaemon_attempt (task_id, number, node, container, started_at, ended_at, outcome, error, exit_code,
  seconds, stdout_tail, stderr_tail, image, oom, wait_seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def settle(node: str, settled: Sequence[Settled], count: CountSettled) -> set[tuple[str, int]]:
    """See Store."""
    kept: list[Settled] = []
    dropped: list[AttemptResult] = []
    attempts: list[tuple[Any, ...]] = []
    with writing() as raw:
        execute = raw.cursor().execute
        wall = datetime.now(UTC).replace(tzinfo=None)
        moment = wall.isoformat(" ", "microseconds")
        for pair in settled:
            each, decision = pair
            task = each.task
            key, number = task.id.replace("-", ""), task.attempt
            if decision is COMPLETED and each.error is None:
                moved = execute(SETTLE_COMPLETED, (key, number, each.result, moment, each.result_size)).rowcount
            else:
                waits, again = decision.pause > 0, decision.status == Status.PENDING
                moved = execute(SETTLE, (
                    key, number, decision.status, each.result, decision.reason, each.error, decision.spent,
                    clock.seconds() + decision.pause if waits else None,
                    (wall + timedelta(seconds=decision.pause)).isoformat(" ", "microseconds") if waits else None,
                    moment if again and not waits else None,
                    None if again else moment,
                    each.result_size,
                )).rowcount  # fmt: skip
            if not moved:
                dropped.append(each)
                continue
            kept.append(pair)
            attempts.append((
                key, number, node, each.container, task.started_at, moment, each.kind._value_, each.error or "",
                each.exit_code, each.seconds, each.stdout_tail, each.stderr_tail, each.image, each.oom, task.known_wait,
            ))  # fmt: skip
        raw.executemany(INSERT_ATTEMPT, attempts)
        add_counts(count(kept, dropped))
    return {(each.task.id, each.task.attempt) for each, _ in kept}
