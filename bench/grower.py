"""python -m bench.grower MAX [--claims N]: how long a claim of 8 tasks takes as a deployment's tables grow.

Fills by bulk SQL within a deployment's environment, and prints a JSON object: by "finished/pending/scheduled" the
milliseconds of each claim. On PostgreSQL each filling is vacuumed, as autovacuum would have done by and by.
"""

from __future__ import annotations

import argparse
import json
import time

import django

from bench import handler

CLAIM, FAR = 8, 10_000_000

_COLUMNS = (
    "id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at, due,"
    " completed_at"
)
#: 1,000,000 ids from `first` on; as UUIDv7s are, each is larger than the one before.
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
    """`kind`: finished, ready or scheduled."""
    from django.db import connection

    from tasks_app import clock

    status = "completed" if kind == "finished" else "pending"
    due = clock.reading() + 1e6 if kind == "scheduled" else None
    own = clock.clock_id() if kind == "scheduled" else ""
    last, ended = first + count - 1, kind == "finished"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            due = time.time() + 1e6 if kind == "scheduled" else None
            own = "server" if kind == "scheduled" else ""
            cursor.execute(_POSTGRESQL, [handler.NAME, status, own, due, ended, first, last])
        else:
            cursor.execute(_SQLITE, [first, handler.NAME, status, own, due, ended, last])


def _settled() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE taskdaemon_task")
            cursor.execute("CHECKPOINT")
        else:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _claims(count: int) -> list[float]:
    """Milliseconds of each."""
    from tasks_app.lifecycle import Policy, Want, claim
    from tasks_app.node.server_session import ServerSession

    # As the clerk's: without it the planner chooses otherwise.
    ServerSession("SET synchronous_commit = off").tuned()
    want = Want(handler.NAME, CLAIM, Policy(30.0, 3, 1.0, frozenset()))
    took = []
    for _ in range(count + 10):
        began = time.perf_counter()
        taken = claim("bench", [want], "fifo")
        took.append((time.perf_counter() - began) * 1e3)
        if len(taken) != CLAIM or any(int(one.place) >= FAR for one in taken):
            raise SystemExit(f"a claim took {taken}")
    return took[10:]


def main() -> None:
    """The first ten claims of each filling warm it up and are not counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("most", type=int, help="finished rows of the largest filling; the middle one has a tenth")
    parser.add_argument("--claims", type=int, default=100)
    options = parser.parse_args()
    django.setup()
    from tasks_app.models import Task

    other = options.most // 10
    found, place = {}, 1
    have = 0
    for finished in (0, other, options.most):
        if finished > have:
            _fill("finished", 3 * FAR + have, finished - have)
            have = finished
        for pending in (0, other):
            for scheduled in (0, other):
                # Claimed first, for their places are smaller than those of the backlog.
                _fill("ready", place, (options.claims + 10) * CLAIM)
                place += (options.claims + 10) * CLAIM
                if pending:
                    _fill("ready", FAR, pending)
                if scheduled:
                    _fill("scheduled", 2 * FAR, scheduled)
                _settled()
                found[f"{finished}/{pending}/{scheduled}"] = _claims(options.claims)
                Task.objects.exclude(status="completed")._raw_delete("default")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
