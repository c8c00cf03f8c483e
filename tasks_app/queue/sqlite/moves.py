"""Settle on SQLite: a statement for each task, one for all attempts and one for all counters, under one lock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from tasks_app.db.sqlite.write_lock import bare_writing, writing
from tasks_app.queue.attempt import COMPLETED, AttemptResult, Settled
from tasks_app.queue.models import Status
from tasks_app.queue.sqlite import session
from tasks_app.queue.sqlite.counters import add_counts
from tasks_app.queue.store import CountSettled

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
                    session.seconds() + decision.pause if waits else None,
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


# Promote on SQLite.

PROMOTE = """
UPDATE taskdaemon_task SET due = NULL, due_at = NULL, ready_at = ?, place = coalesce(?, place)
WHERE id = ? AND status = 'pending' AND due IS NOT NULL
"""


def promote(rows: Sequence[tuple[UUID, int | None]]) -> None:
    """See Store."""
    moment = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    with connection.wrap_database_errors:
        connection.connection.executemany(PROMOTE, [(moment, place, identity.hex) for identity, place in rows])


# Redrive many on SQLite.

REDRIVE = """
UPDATE taskdaemon_task SET status = 'pending', place = ?2, retries = 0, failure_reason = NULL, failure_group = NULL,
  completed_at = NULL, due = NULL, due_at = NULL, expires_at = NULL, ready_at = ?3
WHERE id = ?1 AND status = 'failed'
"""


def redrive(rows: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """See Store."""
    moment = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    with connection.wrap_database_errors:
        execute = connection.connection.cursor().execute
        return {identity for identity, place in rows if execute(REDRIVE, (identity.hex, place, moment)).rowcount}


# Change the priority of many on SQLite.

SET_PRIORITY = """
UPDATE taskdaemon_task SET priority = ?2, place = coalesce(?3, place) WHERE id = ?1 AND status = 'pending'
"""


def set_priority(rows: Sequence[tuple[UUID, int | None]], priority: int) -> set[UUID]:
    """See Store."""
    with connection.wrap_database_errors:
        execute = connection.connection.cursor().execute
        return {identity for identity, place in rows if execute(SET_PRIORITY, (identity.hex, priority, place)).rowcount}


# Renew on SQLite.

ALIVE = """
UPDATE taskdaemon_node SET seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?1, clock = ?2 WHERE name = ?3
"""
# The expression keeps the planner from the index of all running rows.
RENEW = """
UPDATE taskdaemon_task SET lease = ?1, clock = ?2
WHERE id IN (SELECT value FROM json_each(?4)) AND status || '' = 'processing' AND node = ?3
RETURNING id, attempts
"""


def renew(node: str, leases: Mapping[str, float]) -> set[tuple[str, int]]:
    """See Store. A power cut that undoes it has ended the attempts too."""
    rows: list[tuple[str, int]] = []
    with bare_writing(durable=False, first=True) as connection:
        now, its = session.seconds(), session.clock_id()
        connection.execute(ALIVE, (now, its, node))
        for lease in set(leases.values()):
            text = json.dumps([UUID(identity).hex for identity, seconds in leases.items() if seconds == lease])
            rows += connection.execute(RENEW, (now + lease, its, node, text))
    return {(str(UUID(hex=identity)), attempt) for identity, attempt in rows}
