"""claim: pending -> processing, for warm free slots and no others, the best rows first."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, NamedTuple

from django.db import connection

from tasks_app import clock, conf
from tasks_app.fail_points import fail_point
from tasks_app.lifecycle.claimed import Claimed, Policy
from tasks_app.lifecycle.server import prepared
from tasks_app.write_lock import writing

Selection = Literal["fifo", "lifo", "priority"]

#: Seconds that an attempt is a node's own without a renewal.
LEASE = conf.environment().lease

ORDER: dict[Selection, str] = {"fifo": "place", "lifo": "place DESC", "priority": "priority DESC, place"}

# Literal as in the partial indexes' conditions.
_READY = "status = 'pending' AND due IS NULL"
_BEST = "SELECT id FROM taskdaemon_task WHERE " + _READY + " AND task_type = {type} ORDER BY {order} LIMIT {limit}"
# The best are handed on as an array, which the planner takes to be short. It takes a LIMIT that it does not know for a
# tenth of all that is ready, and would read the whole table to join it with that.
_MOVED = """status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp()"""
_CLAIMED = """task.id::text, task.task_type, task.task_data::text, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8"""
_POSTGRESQL = f"""
WITH want AS (
  SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text)
), best AS MATERIALIZED ({{best}})
UPDATE taskdaemon_task AS task SET {_MOVED}, timeout = want.timeout, max_retries = want.max_retries,
  retry_backoff = want.retry_backoff, retry_on = want.retry_on
FROM want WHERE want.type = task.task_type AND task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING {_CLAIMED}
"""
#: Of one type, which is nearly always: a tenth less for the server.
_POSTGRESQL_ONE = f"""
WITH best AS MATERIALIZED ({{best}} FOR UPDATE SKIP LOCKED)
UPDATE taskdaemon_task AS task SET {_MOVED}, timeout = $5::float8, max_retries = $6::int, retry_backoff = $7::float8,
  retry_on = $8
WHERE task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING {_CLAIMED}
"""
# First read, then written by rowid, under one lock: an UPDATE with a subquery and RETURNING takes 1.8x as long, for the
# three tables that it makes on the way.
_SQLITE_BEST = (
    "SELECT rowid, id, task_type, task_data, attempts + 1, priority, place, retries, ready_at || ''"  # past a converter
    " FROM taskdaemon_task WHERE " + _READY + " AND task_type = ? ORDER BY {order} LIMIT ?"
)
_SQLITE_MOVE = """
UPDATE taskdaemon_task SET status = 'processing', attempts = attempts + 1, node = ?, lease = ?, clock = ?,
  started_at = ?, timeout = ?, max_retries = ?, retry_backoff = ?, retry_on = ?
WHERE rowid = ?
"""
# Ordered and in a join of its own, or PostgreSQL reads the table in the hope of meeting a ready row soon.
_WAITING_POSTGRESQL = f"""
SELECT w.name FROM json_array_elements_text($1::json) AS w(name)
CROSS JOIN LATERAL (SELECT 1 FROM taskdaemon_task WHERE {_READY} AND task_type = w.name ORDER BY place LIMIT 1) AS t
"""
_WAITING_SQLITE = f"""
SELECT w.value FROM json_each(?) AS w
WHERE EXISTS (SELECT 1 FROM taskdaemon_task WHERE {_READY} AND task_type = w.value)
"""


class Want(NamedTuple):
    """`count` rows of a type at most, to be run under `policy`."""

    task_type: str
    count: int  # type: ignore[assignment]  # tuple's own `count` is not missed
    policy: Policy


def best_by_type(order: Selection) -> str:
    """The rows a claim takes, for PostgreSQL: what the test of its plan explains."""
    best = _BEST.format(type="want.type", order=ORDER[order], limit="want.count")
    return f"SELECT b.id FROM want CROSS JOIN LATERAL ({best} FOR UPDATE SKIP LOCKED) AS b"


#: The rows that were looked at, as far as they are still there to take. The status is asked for in a way that fits no
#: partial index: with old statistics the planner takes that for a short way, and reads every ready row. In the order of
#: their ids, so that two claimers do not wait for each other's rows in a circle.
_LOOKED_AT = """
SELECT t.id FROM taskdaemon_task AS t
WHERE t.id = ANY($4::uuid[]) AND coalesce(t.status) = 'pending' AND coalesce(t.due) IS NULL
ORDER BY t.id FOR UPDATE OF t
"""


_BY_ID = _POSTGRESQL.replace("{best}", _LOOKED_AT)


@cache
def best_of_type(order: Selection) -> str:
    """The rows a claim takes, for SQLite: what the test of its plan explains."""
    return _SQLITE_BEST.format(order=ORDER[order])


@cache
def _by_type(order: Selection) -> str:
    return _POSTGRESQL.replace("{best}", best_by_type(order))


@cache
def _of_one(order: Selection) -> str:
    return _POSTGRESQL_ONE.replace("{best}", _BEST.format(type="$1", order=ORDER[order], limit="$4::int"))


def claim(node: str, wants: Sequence[Want], order: Selection, cap: int | None = None) -> list[Claimed]:
    """Claim ready rows for `node`: at most `count` of each type, at most `cap` in all, the best ones first.

    The answer is in the order in which they are to be started.
    """
    wants = [want for want in wants if want.count > 0]
    if not wants or cap == 0:
        return []
    if connection.vendor == "postgresql":
        rows = _claim_postgresql(node, wants, order, cap)
    else:
        rows = _claim_sqlite(node, wants, order, cap)
    rows.sort(key=_sort_key(order))
    return rows


def waiting(types: Sequence[str]) -> set[str]:
    """Which of the types have a ready row. A read: an idle node does not take the write lock to look."""
    names = json.dumps(types)
    if connection.vendor == "postgresql":
        return {row[0] for row in prepared(_WAITING_POSTGRESQL, (names,))}
    with connection.wrap_database_errors:
        connection.ensure_connection()
        return {row[0] for row in connection.connection.execute(_WAITING_SQLITE, (names,))}


def _sort_key(order: Selection) -> Any:
    if order == "priority":
        return lambda row: (-row.priority, row.place)
    return (lambda row: row.place) if order == "fifo" else (lambda row: -row.place)


def _look(wants: Sequence[Want], order: Selection, cap: int) -> list[tuple[Any, str]]:
    """The best `cap` ready rows over all types, as (id, type); nothing is locked."""
    seen = []
    with connection.cursor() as cursor:
        for want in wants:
            best = _BEST.format(type="%s", order=ORDER[order], limit="%s").replace(
                "SELECT id", "SELECT id, priority, place"
            )
            cursor.execute(best, [want.task_type, min(want.count, cap)])
            seen += [(want.task_type, *row) for row in cursor.fetchall()]
    if order == "priority":
        seen.sort(key=lambda row: (-row[2], row[3]))
    else:
        seen.sort(key=lambda row: row[3], reverse=order == "lifo")
    return [(row[1], row[0]) for row in seen[:cap]]


def _claim_postgresql(node: str, wants: Sequence[Want], order: Selection, cap: int | None) -> list[Claimed]:
    sent_at = time.monotonic()
    policies = {want.task_type: want.policy for want in wants}
    if cap is None:
        rows = _claim_all(node, wants, order)
        fail_point("inside_claim")
        return [Claimed._make((*row, policies[row[1]], sent_at, None)) for row in rows]
    values = (_as_json(wants), node, LEASE)
    taken: list[Claimed] = []
    left = {want.task_type: want.count for want in wants}
    # Locking more than is taken would make other nodes skip the best rows, so: look, then take exactly those.
    # Rows that another node took in between are looked for again.
    for _ in range(8):
        again = [want._replace(count=left[want.task_type]) for want in wants if left[want.task_type]]
        seen = _look(again, order, cap - len(taken)) if cap > len(taken) else []
        if not seen:
            break
        ids = "{" + ",".join(str(row[0]) for row in seen) + "}"
        rows = prepared(_BY_ID, (*values, ids))
        fail_point("inside_claim")
        for row in rows:
            taken.append(Claimed._make((*row, policies[row[1]], sent_at, None)))
            left[row[1]] -= 1
        if len(rows) == len(seen):
            break
    return taken


def _claim_all(node: str, wants: Sequence[Want], order: Selection) -> list[tuple[Any, ...]]:
    if len(wants) > 1:
        return prepared(_by_type(order), (_as_json(wants), node, LEASE))
    ((name, count, policy),) = wants
    bound = (policy.timeout, policy.max_retries, policy.retry_backoff, policy.retry_on_text)
    return prepared(_of_one(order), (name, node, LEASE, count, *bound))


def _as_json(wants: Sequence[Want]) -> str:
    # Not as arrays: for those psycopg looks at each element, in Python.
    return json.dumps(
        [
            {
                "type": name, "count": count, "timeout": policy.timeout, "max_retries": policy.max_retries,
                "retry_backoff": policy.retry_backoff, "retry_on": policy.retry_on_text,
            }
            for name, count, policy in wants
        ]
    )  # fmt: skip


def _claim_sqlite(node: str, wants: Sequence[Want], order: Selection, cap: int | None) -> list[Claimed]:
    taken: list[Claimed] = []
    sent_at = time.monotonic()
    with writing():
        if cap is not None:
            # The lock is held: nobody takes a row between the look and the claim, and the best rows of a type are the
            # first ones of its own order.
            seen = [name for _, name in _look(wants, order, cap)]
            wants = [want._replace(count=seen.count(want.task_type)) for want in wants if want.task_type in seen]
        best = best_of_type(order)
        raw = connection.connection  # Django's cursor rewrites every placeholder at every call
        moment = datetime.now(UTC).replace(tzinfo=None)
        lease, boot, started = clock.reading() + LEASE, clock.clock_id(), moment.isoformat(" ", "microseconds")
        for name, count, policy in wants:
            rows = raw.execute(best, (name, count)).fetchall()
            if not rows:
                continue
            retry = (policy.max_retries, policy.retry_backoff, policy.retry_on_text)
            bound = (node, lease, boot, started, policy.timeout, *retry)
            raw.executemany(_SQLITE_MOVE, [(*bound, row[0]) for row in rows])
            fail_point("inside_claim")
            for row in rows:
                wait = (moment - datetime.fromisoformat(row[8])).total_seconds()
                taken.append(Claimed._make((_dashed(row[1]), *row[2:8], wait, policy, sent_at, started)))
    return taken


def _dashed(key: str) -> str:
    """A UUID's usual spelling, of the 32 digits that SQLite keeps."""
    return f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"
