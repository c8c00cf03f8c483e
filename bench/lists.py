"""How long the first page of a list takes with a million tasks, for each filter and the common pairs.

    python -m bench.lists [--tasks 1000000] [--only TEXT]

On the database of DATABASE_URL, which must have no tasks and keeps those that this makes, or on a SQLite file in a
folder of its own, which is removed. Prints a line for each list, and ends with 1 if one takes longer than it may.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Milliseconds that a first page may take.
LIMITS = {"postgresql": 100.0, "sqlite": 300.0}
ROUNDS = 5
#: Tasks are created so far apart, in milliseconds, from BEGAN on.
APART, BEGAN = 10, 1_767_225_600_000

#: Most tasks are completed. At the old end there are 30 of the type `urgent` and a backlog of `resize`; at the new end
#: another backlog, and 8 that run. Every other task has tags. One in 97 failed; ten at the old end for another reason
#: than the others.
FILL = """
INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries, clock, node, lease,
  retry_on, result, last_error, failure_reason, created_at, ready_at, started_at, completed_at, tags)
SELECT {id}, task_type, '{{"n": 1}}', CASE WHEN g % 10000 = 0 THEN 100 ELSE 50 END, status, g, 1, 0, '',
  CASE WHEN status = 'processing' THEN 'node' END, CASE WHEN status = 'processing' THEN 1e12 END, '',
  CASE WHEN status = 'completed' THEN {result} END,
  CASE WHEN status = 'failed' THEN 'the handler said no to ' || g END,
  CASE WHEN status = 'failed' THEN CASE WHEN g < 970 THEN 'oom' ELSE 'handler_error' END END,
  {at}, {at}, {at}, CASE WHEN status IN ('completed', 'failed') THEN {at} END,
  CASE WHEN g % 2 = 0 THEN {tags} END
FROM (
  SELECT g,
    CASE WHEN g <= 30 THEN 'urgent' WHEN g % 10 < 6 THEN 'echo' WHEN g % 10 < 9 THEN 'prime' ELSE 'resize' END
      AS task_type,
    CASE
      WHEN g > {n} - 5000 THEN 'pending'
      WHEN g > {n} - 5008 THEN 'processing'
      WHEN g % 10 = 9 AND g BETWEEN 40 AND 100000 THEN 'pending'
      WHEN g % 97 = 0 THEN 'failed'
      ELSE 'completed'
    END AS status
  FROM {numbers}
) AS made
"""
DIALECTS = {
    "postgresql": {
        "id": f"(lpad(to_hex({BEGAN} + g * {APART}), 12, '0') || '70008000' || lpad(to_hex(g), 12, '0'))::uuid",
        "at": f"to_timestamp(({BEGAN} + g * {APART}) / 1000.0)",
        "result": "jsonb_build_object('n', g)",
        "tags": "jsonb_build_array('all', 'n:' || g)",
        "numbers": "generate_series(1, {n}::bigint) AS g",
    },
    "sqlite": {
        "id": f"printf('%012x70008000%012x', {BEGAN} + g * {APART}, g)",
        "at": f"strftime('%Y-%m-%d %H:%M:%f', ({BEGAN} + g * {APART}) / 1000.0, 'unixepoch') || '000'",
        "result": "json_object('n', g)",
        "tags": "json_array('all', 'n:' || g)",
        "numbers": "(WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < {n}) SELECT g FROM s)",
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="only lists whose query has this text")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lists-") as home:
        os.environ.update({"DAEMON_HOME": home, "DAEMON_SECRET_KEY": secrets.token_urlsafe(48)})
        os.environ.setdefault("HANDLER_CONFIG", str(Path(__file__).resolve().parents[1] / "handlers.toml"))
        return run(given.tasks, given.only)


def run(tasks: int, only: str) -> int:
    """Fill the database and measure. Returns the number of lists that took too long, at most 1."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from tasks_app.queue.current import store

    call_command("migrate", verbosity=0)
    with store().unlimited():
        fill(connection, tasks)
    slow = 0
    for query in queries(tasks):
        if only in query:
            count, more, took = measure(query)
            late = took > LIMITS[connection.vendor]
            slow += late
            print(f"{took:8.1f} ms {count:5} {'more' if more else '    '} {'SLOW' if late else '    '} {query[:100]}")
    print(f"{slow} slow, with {tasks:,} tasks on {connection.vendor}")
    return min(slow, 1)


def fill(connection: Any, tasks: int) -> None:
    """Insert the tasks. Raises SystemExit if there are others."""
    words = {name: text.replace("{n}", str(tasks)) for name, text in DIALECTS[connection.vendor].items()}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM taskdaemon_task")
        if (stored := cursor.fetchone()[0]) not in (0, tasks):
            raise SystemExit(f"the database has {stored:,} tasks; this needs an empty one")
        if not stored:
            cursor.execute(FILL.format(n=tasks, **words))
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM (ANALYZE) taskdaemon_task")


def moment(tasks: int, share: float) -> str:
    """The time of creation of the task at a share of all."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp((BEGAN + int(tasks * share) * APART) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def identity(number: int) -> str:
    """The id of a task."""
    text = f"{BEGAN + number * APART:012x}70008000{number:012x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def queries(tasks: int) -> Iterator[str]:
    """Each filter alone, with frequent and with rare values, and pairs of one value each; both orders."""
    ids = ",".join(identity(1 + n * tasks // 200) for n in range(200))
    early, middle, late = (moment(tasks, share) for share in (0.01, 0.5, 0.99))
    single = [
        "", "status=completed", "status=failed", "status=pending", "status=processing", "status=pending,failed",
        "type=echo", "type=resize", "type=urgent", "type=none", "type=urgent,none",
        "failure_reason=handler_error", "failure_reason=oom", "failure_reason=timeout",
        "priority_min=60", "priority_min=100", "priority_max=10", f"created_after={middle}", f"created_after={late}",
        f"created_before={early}", f"created_before={middle}", f"ids={ids}", "error=said+no", "error=nowhere",
        "tag=all", "tag=n:2", "tag=all&tag=nowhere",
    ]  # fmt: skip
    values = [
        "status=completed", "status=failed", "status=pending", "status=processing", "type=urgent", "type=echo",
        "failure_reason=oom", "priority_min=60", f"created_after={middle}", f"created_before={early}", f"ids={ids}",
        "error=nowhere", "tag=nowhere",
    ]  # fmt: skip
    names = [each.partition("=")[0] for each in values]
    pairs = [
        f"{one}&{other}"
        for n, one in enumerate(values)
        for m, other in enumerate(values)
        if n < m and names[n] != names[m]
    ]
    for query in [*single, "fields=id,status", *pairs]:
        yield query
        yield f"{query}&order=oldest".lstrip("&")


def measure(query: str) -> tuple[int, bool, float]:
    """The number of tasks of a first page, whether there are more, and the median of its milliseconds."""
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    answer = client.get(f"/api/tasks?{query}")
    if answer.status_code != 200:
        raise SystemExit(f"{query}: {answer.status_code} {answer.content[:300]!r}")
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = client.get(f"/api/tasks?{query}")
        times.append((time.perf_counter() - began) * 1000)
    return len(answer.json()), "Link" in answer.headers, statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
