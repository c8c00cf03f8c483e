"""Claim on PostgreSQL: one statement, which skips the index's known dead entries (`marks`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from tasks_app.db.postgresql.calls import prepared
from tasks_app.process import ARMED, fail_point
from tasks_app.queue.attempt import ClaimedTask, ClaimRequest, Selection
from tasks_app.queue.postgresql.marks import (
    EMPTY,
    READY_BY_PRIORITY,
    RETURNED,
    Marks,
    SessionMarks,
    kept_marks,
    session_marks,
)
from tasks_app.queue.sql import NOT_EXPIRED, ORDER, READY

#: Reads and claims of one capped claim.
MAX_CAPPED_ROUNDS = 8
#: A claim returns at most so many bytes of data. Data that could exceed them is left out: the server makes a text of
#: each, and many large texts together would take longer than a statement may.
MAX_DATA_BYTES = 16 * 1024 * 1024
#: Data without a stored size is measured if it has so few bytes in its row. More may be compressed, and of a number
#: with an exponent hundreds of bytes are made.
MEASURED_BYTES = 2048

_STARTABLE = NOT_EXPIRED.format(wall="statement_timestamp()")
#: The rows of a type, along `task_ready_by_place` and `task_ready_by_priority`.
BY_POSITION, BY_PRIORITY = (f"{rows} AND task_type = {{type}}" for rows in (READY, READY_BY_PRIORITY))
STARTABLE_BY_POSITION, STARTABLE_BY_PRIORITY, _STARTABLE_RETURNED = (
    f"{rows} AND {_STARTABLE}" for rows in (BY_POSITION, BY_PRIORITY, RETURNED)
)

#: The rows of a type, which of them, their order.
Arm = tuple[str, str, str]


def arms(by_position: str, by_priority: str, returned: str) -> dict[Selection, tuple[Arm, ...]]:
    """The reads of each segment (a, b, c), one after the other: every ready row once, the best first."""
    return {
        "fifo": (
            (returned, "place < segment.a", "place"),
            (by_position, "place >= segment.a", "place"),
        ),
        "lifo": (
            (by_position, "place >= segment.a AND place < segment.b", "place DESC"),
            (returned, "place < segment.a AND place >= segment.c", "place DESC"),
        ),
        "priority": (
            (returned, "priority = segment.a AND place < segment.b", "place"),
            (by_priority, "priority = segment.a AND place >= segment.b", "place"),
            (by_priority, "priority < segment.a AND priority > segment.c", "priority DESC, place"),
        ),
    }


ARMS = arms(STARTABLE_BY_POSITION, STARTABLE_BY_PRIORITY, _STARTABLE_RETURNED)
# The parameters of the statements below, and the columns that they return:
#   all       $2 node, $3 seconds of the lease; `{each}`: the most bytes of data that a row returns
#   several   $1 the requests as JSON, $4 `{each}`; by id: $4 the ids, $5 `{each}`
#   one type  $1 its name, $4 count, $5 timeout, $6 max_retries, $7 retry_backoff, $8 retry_on, $9 since, $10 to $12 are
#             a, b and c of the segments, $13 `{each}`
#   returned  0 id, 1 type, 2 data, 3 attempt, 4 priority, 5 position, 6 retries, 7 wait, as in ClaimedTask; 8 timeout
#             and 9 max_retries, as they are for this attempt
# The ids are passed on as an array because the planner assumes that an array is short. It estimates a LIMIT of unknown
# value as a tenth of all ready rows and would read the whole table for a join with that many.
_MOVED = """status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp()"""
_CLAIMED = f"""task.id::text, task.task_type,
  CASE WHEN coalesce(task.task_data_size <= {{each}}::int, pg_column_size(task.task_data) <= {MEASURED_BYTES})
    THEN task.task_data::text END, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8, task.timeout, task.max_retries,
  task.followed IS TRUE"""
_WANT = """SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text, since bigint,
      a bigint[], b bigint[], c bigint[])"""
_CLAIM = f"""
WITH want AS ({_WANT}), best AS MATERIALIZED ({{best}})
UPDATE taskdaemon_task AS task SET {_MOVED}, timeout = coalesce(requested_timeout, want.timeout),
  max_retries = coalesce(requested_max_retries, want.max_retries), retry_backoff = want.retry_backoff,
  retry_on = want.retry_on
FROM want WHERE want.type = task.task_type AND task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING {_CLAIMED}
"""
_CLAIM_ONE_TYPE = f"""
WITH best AS MATERIALIZED ({{best}})
UPDATE taskdaemon_task AS task SET {_MOVED}, timeout = coalesce(requested_timeout, $5::float8),
  max_retries = coalesce(requested_max_retries, $6::int), retry_backoff = $7::float8, retry_on = $8
WHERE task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING {_CLAIMED}
"""
#: Of the rows with these ids, those that are still ready. coalesce() keeps the planner from a partial index, which with
#: old statistics looks cheap and reads every ready row. ORDER BY id avoids a deadlock between two claims.
_STILL_READY = """
SELECT t.id FROM taskdaemon_task AS t
WHERE t.id = ANY($4::uuid[]) AND coalesce(t.status) = 'pending' AND coalesce(t.due) IS NULL AND {startable}
ORDER BY t.id FOR UPDATE OF t
"""
CLAIM_BY_ID = _CLAIM.replace("{best}", _STILL_READY.format(startable=_STARTABLE)).replace("{each}", "$5")


def _best(order: Selection, name: str, limit: str, since: str, segments: str, lock: str) -> str:
    """The best ready rows of a type. Each part is read, and locked, only as far as the limit asks for it."""
    arms = " UNION ALL ".join(
        f"SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE {rows.format(type=name, since=since)}"
        f" AND {which} ORDER BY {by} LIMIT {limit} {lock}) AS arm{n}"
        for n, (rows, which, by) in enumerate(ARMS[order])
    )
    return (
        f"SELECT found.* FROM unnest({segments}) AS segment(a, b, c) CROSS JOIN LATERAL ({arms}) AS found LIMIT {limit}"
    )


@cache
def claim_by_type(order: Selection) -> str:
    """The statement that claims tasks of several types."""
    best = _best(order, "want.type", "want.count", "want.since", "want.a, want.b, want.c", "FOR UPDATE SKIP LOCKED")
    return _CLAIM.replace("{best}", f"SELECT b.id FROM want CROSS JOIN LATERAL ({best}) AS b").replace("{each}", "$4")


@cache
def claim_one_type(order: Selection) -> str:
    """The statement that claims tasks of one type, the usual case: it costs the server a tenth less."""
    segments = "$10::bigint[], $11::bigint[], $12::bigint[]"
    best = _best(order, "$1", "$4::int", "$9::bigint", segments, "FOR UPDATE SKIP LOCKED")
    return _CLAIM_ONE_TYPE.replace("{best}", best).replace("{each}", "$13")


@cache
def best_of_types(order: Selection) -> str:
    """The query for the best rows of several types, the best over all first. Locks nothing."""
    best = _best(order, "want.type", "want.count", "want.since", "want.a, want.b, want.c", "")
    rows = f"({_WANT}) AS want CROSS JOIN LATERAL ({best}) AS b"
    return f"SELECT b.id::text FROM {rows} ORDER BY {ORDER[order]} LIMIT $2::int"


def take_ready(
    node: str, requests: Sequence[ClaimRequest], order: Selection, cap: int | None, lease: float
) -> list[ClaimedTask]:
    session = session_marks()
    if session is not None:
        session.look_if_due(order)
    else:
        session = kept_marks()
    claim_sent_at = time.monotonic()
    if cap is None:
        rows = _claim_uncapped(node, requests, order, lease, session)
    else:
        rows = _claim_capped(node, requests, order, cap, lease, session)
    if session is not None and rows:
        priorities: dict[str, list[int]] = {}
        for row in rows:
            priorities.setdefault(row[1], []).append(row[4])
        session.claimed(order, priorities)
    policies = {request.task_type: request.policy for request in requests}
    return [
        ClaimedTask._make((*row[:8], policies[row[1]].requested(row[8], row[9]), claim_sent_at, None, row[10], False))
        for row in rows
    ]


def _claim_uncapped(
    node: str, requests: Sequence[ClaimRequest], order: Selection, lease: float, session: SessionMarks | None
) -> list[tuple[Any, ...]]:
    if len(requests) > 1:
        max_bytes = MAX_DATA_BYTES // sum(request.count for request in requests)
        rows = prepared(claim_by_type(order), (as_json(requests, order, session), node, lease, max_bytes))
    else:
        ((name, count, policy),) = requests
        marks = _marks(order, name, session)
        rows = prepared(claim_one_type(order), (
            name, node, lease, count, policy.timeout, policy.max_retries, policy.retry_backoff, policy.retry_on_text,
            marks.since, *as_arrays(order, marks), MAX_DATA_BYTES // count,
        ))  # fmt: skip
    if ARMED:
        fail_point("inside_claim")
    return rows


def _claim_capped(
    node: str, requests: Sequence[ClaimRequest], order: Selection, cap: int, lease: float, session: SessionMarks | None
) -> list[tuple[Any, ...]]:
    """Locking more rows than it claims would make other nodes skip the best ones. So this reads first, then claims
    exactly those rows, and reads again if another node claimed some of them in between."""
    claimed: list[tuple[Any, ...]] = []
    missing = {request.task_type: request.count for request in requests}
    for _ in range(MAX_CAPPED_ROUNDS):
        again = [
            request._replace(count=missing[request.task_type]) for request in requests if missing[request.task_type]
        ]
        limit = cap - len(claimed)
        if not again or limit <= 0:
            break
        best = prepared(best_of_types(order), (as_json(again, order, session), limit))
        if not best:
            break
        ids = "{" + ",".join(row[0] for row in best) + "}"
        max_bytes = MAX_DATA_BYTES // len(best)
        rows = prepared(CLAIM_BY_ID, (as_json(requests, order, session), node, lease, ids, max_bytes))
        if ARMED:
            fail_point("inside_claim")
        for row in rows:
            claimed.append(row)
            missing[row[1]] -= 1
        if len(rows) == len(best):
            break
    return claimed


def _marks(order: Selection, name: str, session: SessionMarks | None) -> Marks:
    return Marks(EMPTY[order]) if session is None else session.of(order, name)


@lru_cache(maxsize=64)
def as_arrays(order: Selection, marks: Marks) -> tuple[str, ...]:
    """The columns a, b and c of the segments as PostgreSQL's arrays.

    `order` is for the cache: as tuples, the empty bands of two orders are equal.
    """
    return tuple("{" + ",".join(map(str, column)) + "}" for column in _columns(marks))


def _columns(marks: Marks) -> Iterable[tuple[int, ...]]:
    """The columns a, b and c of the segments."""
    return zip(*marks.bands.segments(), strict=True)


def as_json(requests: Sequence[ClaimRequest], order: Selection, session: SessionMarks | None = None) -> str:
    """The requests as one value, because psycopg adapts each element of an array in Python."""
    want = []
    for name, count, policy in requests:
        marks = _marks(order, name, session)
        a, b, c = _columns(marks)
        want.append({
            "type": name, "count": count, "timeout": policy.timeout, "max_retries": policy.max_retries,
            "retry_backoff": policy.retry_backoff, "retry_on": policy.retry_on_text,
            "since": marks.since, "a": a, "b": b, "c": c,
        })  # fmt: skip
    return json.dumps(want)


def ready_types(types: Sequence[str]) -> set[str]:
    """Takes a look, so that an idle node's polls do not read the dead entries that its claims left behind."""
    session = session_marks() or SessionMarks()
    return session.look("fifo", types)
