"""python -m bench.grower MAX [--claims N]: how long a claim of 8 tasks takes as a deployment's tables grow.

Runs in a deployment's environment, inserts rows in bulk, and prints a JSON object: the milliseconds of every claim for
each "finished/pending/scheduled". PostgreSQL is vacuumed after each filling, as autovacuum would do eventually.
"""

from __future__ import annotations

import argparse
import json
import time

import django

from bench import handler

CLAIM_TASKS = 8
#: Positions from here on belong to the backlog.
BACKLOG_POSITION = 10_000_000
#: Claims that warm each filling up and do not count.
WARM_UP_CLAIMS = 10

_COLUMNS = (
    "id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at, due,"
    " completed_at"
)
#: `count` ids from `first` on; each is larger than the one before, like UUIDv7s.
_POSTGRESQL = f"""
INSERT INTO taskdaemon_task ({_COLUMNS})
SELECT lpad(to_hex(n), 32, '0')::uuid, %s, '{{"n": 1}}', 50, %s, n, 0, 0, %s, '', now(), now(), %s::float8,
  CASE WHEN %s THEN now() END
FROM generate_series(%s::bigint, %s::bigint) AS n
"""
_SQLITE = f"""
WITH RECURSIVE s(n, type, status, clock, due, ended, last) AS (
  SELECT %s, %s, %s, %s, %s, %s, %s UNION ALL SELECT n + 1, type, status, clock, due, ended, last FROM s WHERE n < last
)
INSERT INTO taskdaemon_task ({_COLUMNS})
SELECT printf('%%032x', n), type, '{{"n": 1}}', 50, status, n, 0, 0, clock, '', '2026-01-01 00:00:00',
  '2026-01-01 00:00:00', due, CASE WHEN ended THEN '2026-01-01 00:00:00' END FROM s
"""


def _fill(kind: str, first: int, count: int) -> None:
    """Insert rows of a kind: finished, ready or scheduled."""
    from django.db import connection

    from tasks_app.queue.current import store

    status = "completed" if kind == "finished" else "pending"
    due = store().seconds() + 1e6 if kind == "scheduled" else None
    own = store().clock_id() if kind == "scheduled" else ""
    last, ended = first + count - 1, kind == "finished"
    with connection.cursor() as cursor:
        if store().name == "postgresql":
            due = time.time() + 1e6 if kind == "scheduled" else None
            own = "server" if kind == "scheduled" else ""
            cursor.execute(_POSTGRESQL, [handler.NAME, status, own, due, ended, first, last])
        else:
            cursor.execute(_SQLITE, [first, handler.NAME, status, own, due, ended, last])


def _clean_up() -> None:
    from django.db import connection

    from tasks_app.queue.current import store

    with connection.cursor() as cursor:
        if store().name == "postgresql":
            cursor.execute("VACUUM ANALYZE taskdaemon_task")
            cursor.execute("CHECKPOINT")
        else:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _claims(count: int) -> list[float]:
    """The milliseconds of each claim."""
    from tasks_app.queue.attempt import ClaimRequest, Policy
    from tasks_app.queue.claim import claim
    from tasks_app.queue.current import store

    # As the dispatcher does: without it the planner chooses another plan.
    store().configure_session(durable=False)
    request = ClaimRequest(handler.NAME, CLAIM_TASKS, Policy(30.0, 3, 1.0, frozenset()))
    took = []
    for _ in range(count + WARM_UP_CLAIMS):
        began = time.perf_counter()
        taken = claim("bench", [request], "fifo")
        took.append((time.perf_counter() - began) * 1e3)
        if len(taken) != CLAIM_TASKS or any(int(one.position) >= BACKLOG_POSITION for one in taken):
            raise SystemExit(f"a claim took {taken}")
    return took[WARM_UP_CLAIMS:]


def main() -> None:
    """Fill, claim, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("most", type=int, help="finished rows of the largest filling; the middle one has a tenth")
    parser.add_argument("--claims", type=int, default=100)
    options = parser.parse_args()
    django.setup()
    from tasks_app.queue.models import Task

    tenth = options.most // 10
    found, position = {}, 1
    have = 0
    for finished in (0, tenth, options.most):
        if finished > have:
            _fill("finished", 3 * BACKLOG_POSITION + have, finished - have)
            have = finished
        for pending in (0, tenth):
            for scheduled in (0, tenth):
                # Claimed first: their positions are smaller than the backlog's.
                _fill("ready", position, (options.claims + WARM_UP_CLAIMS) * CLAIM_TASKS)
                position += (options.claims + WARM_UP_CLAIMS) * CLAIM_TASKS
                if pending:
                    _fill("ready", BACKLOG_POSITION, pending)
                if scheduled:
                    _fill("scheduled", 2 * BACKLOG_POSITION, scheduled)
                _clean_up()
                found[f"{finished}/{pending}/{scheduled}"] = _claims(options.claims)
                Task.objects.exclude(status="completed")._raw_delete("default")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
