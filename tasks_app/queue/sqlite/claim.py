"""Claim on SQLite: a read and then an update by rowid, under one lock.

An UPDATE with a subquery and RETURNING fills three temporary tables and takes 1.8 times as long.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

from tasks_app.db.sqlite.write_lock import writing
from tasks_app.process import ARMED, fail_point
from tasks_app.queue.attempt import ClaimedTask, ClaimRequest, Selection
from tasks_app.queue.sql import NOT_EXPIRED, ORDER, READY
from tasks_app.queue.sqlite.readings import WALL
from tasks_app.queue.sqlite.session import clock_id, read, seconds

#: The rows that a claim takes of one type.
BEST = (
    f"SELECT {{columns}} FROM taskdaemon_task WHERE {READY} AND task_type = ?"
    f" AND {NOT_EXPIRED.format(wall=WALL)} ORDER BY {{order}} LIMIT ?"
)
#: `ready_at || ''` bypasses sqlite3's converter.
_COLUMNS = """rowid, id, task_type, task_data, attempts + 1, priority, place, retries, ready_at || '',
  requested_timeout, requested_max_retries, followed IS TRUE"""
CLAIM = """
UPDATE taskdaemon_task SET status = 'processing', attempts = attempts + 1, node = ?, lease = ?, clock = ?,
  started_at = ?, timeout = ?, max_retries = ?, retry_backoff = ?, retry_on = ?
WHERE rowid = ?
"""
READY_TYPES = f"""
SELECT w.value FROM json_each(?) AS w
WHERE EXISTS (SELECT 1 FROM taskdaemon_task WHERE {READY} AND task_type = w.value)
"""


@cache
def best_of_type(order: Selection) -> str:
    """The query for the rows that a claim takes."""
    return BEST.format(columns=_COLUMNS, order=ORDER[order])


@cache
def positions_of_type(order: Selection) -> str:
    """The query for the same rows, to be compared with those of other types."""
    return BEST.format(columns="id, priority, place", order=ORDER[order])


def take_ready(
    node: str, requests: Sequence[ClaimRequest], order: Selection, cap: int | None, lease: float
) -> list[ClaimedTask]:
    claimed: list[ClaimedTask] = []
    claim_sent_at = time.monotonic()
    with writing() as raw:
        if cap is not None:
            # The write lock is held, so the rows of this count are still ready when they are claimed below.
            counts = _best_of_all(requests, order, cap)
            requests = [
                request._replace(count=counts[request.task_type]) for request in requests if request.task_type in counts
            ]
        best = best_of_type(order)
        moment = datetime.now(UTC).replace(tzinfo=None)
        ends_at, boot, started = seconds() + lease, clock_id(), moment.isoformat(" ", "microseconds")
        for name, count, policy in requests:
            rows = raw.execute(best, (name, count)).fetchall()
            if not rows:
                continue
            bound, text = (node, ends_at, boot, started), policy.retry_on_text
            policies = [policy.requested(row[9], row[10]) for row in rows]
            raw.executemany(
                CLAIM,
                [
                    (*bound, its.timeout, its.max_retries, policy.retry_backoff, text, row[0])
                    for row, its in zip(rows, policies, strict=True)
                ],
            )
            if ARMED:
                fail_point("inside_claim")
            for row, its in zip(rows, policies, strict=True):
                wait = (moment - datetime.fromisoformat(row[8])).total_seconds()
                claimed.append(
                    ClaimedTask._make(
                        (_dashed(row[1]), *row[2:8], wait, its, claim_sent_at, started, bool(row[11]), False)
                    )
                )
    return claimed


def _best_of_all(requests: Sequence[ClaimRequest], order: Selection, cap: int) -> Counter[str]:
    """How many of the best `cap` ready rows over all types are of each type."""
    rows = [
        (request.task_type, priority, position)
        for request in requests
        for _, priority, position in read(positions_of_type(order), (request.task_type, min(request.count, cap)))
    ]
    if order == "priority":
        rows.sort(key=lambda row: (-row[1], row[2]))
    else:
        rows.sort(key=lambda row: row[2], reverse=order == "lifo")
    return Counter(row[0] for row in rows[:cap])


def _dashed(key: str) -> str:
    """A UUID with dashes, from the 32 digits that SQLite stores."""
    return f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"


def ready_types(types: Sequence[str]) -> set[str]:
    return {name for (name,) in read(READY_TYPES, (json.dumps(types),))}
