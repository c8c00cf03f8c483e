"""Claim on SQLite: a read and then an update by rowid, under one lock.

An UPDATE with a subquery and RETURNING fills three temporary tables and takes 1.8 times as long.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

from django.db import connection

from tasks_app.db.sqlite.write_lock import writing
from tasks_app.process.fail_points import fail_point
from tasks_app.queue.attempt import ClaimedTask, ClaimRequest, Selection
from tasks_app.queue.sql import BEST, ORDER, READY, best_of_all
from tasks_app.queue.sqlite import session
from tasks_app.queue.sqlite.readings import WALL

# `ready_at || ''` bypasses sqlite3's converter.
_BEST_COLUMNS = """rowid, id, task_type, task_data, attempts + 1, priority, place, retries, ready_at || '',
  requested_timeout, requested_max_retries"""
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
    return BEST.format(columns=_BEST_COLUMNS, type="?", order=ORDER[order], limit="?", wall=WALL)


def claim(
    node: str, requests: Sequence[ClaimRequest], order: Selection, cap: int | None, lease: float
) -> list[ClaimedTask]:
    """See Store."""
    claimed: list[ClaimedTask] = []
    sent_at = time.monotonic()
    with writing() as raw:
        if cap is not None:
            # The write lock is held, so the rows found here are still ready when they are claimed below.
            found = [name for _, name in best_of_all(requests, order, cap, WALL)]
            requests = [
                request._replace(count=found.count(request.task_type))
                for request in requests
                if request.task_type in found
            ]
        best = best_of_type(order)
        moment = datetime.now(UTC).replace(tzinfo=None)
        ends_at, boot, started = session.seconds() + lease, session.clock_id(), moment.isoformat(" ", "microseconds")
        for name, count, policy in requests:
            rows = raw.execute(best, (name, count)).fetchall()
            if not rows:
                continue
            bound, text = (node, ends_at, boot, started), policy.retry_on_text
            own = [policy.requested(row[9], row[10]) for row in rows]
            raw.executemany(
                CLAIM,
                [
                    (*bound, each.timeout, each.max_retries, policy.retry_backoff, text, row[0])
                    for row, each in zip(rows, own, strict=True)
                ],
            )
            fail_point("inside_claim")
            for row, each in zip(rows, own, strict=True):
                wait = (moment - datetime.fromisoformat(row[8])).total_seconds()
                claimed.append(ClaimedTask._make((_dashed(row[1]), *row[2:8], wait, each, sent_at, started)))
    return claimed


def _dashed(key: str) -> str:
    """A UUID with dashes, from the 32 digits that SQLite stores."""
    return f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"


def ready_types(types: Sequence[str]) -> set[str]:
    """See Store."""
    with connection.wrap_database_errors:
        connection.ensure_connection()
        return {row[0] for row in connection.connection.execute(READY_TYPES, (json.dumps(types),))}
