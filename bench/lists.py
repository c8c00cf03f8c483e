"""How long lists and pages take with a million tasks: the API's first page for each filter and the common pairs, the
admin's pages and filters, the page before a bulk act, and how many rows an export sends in a second.

    python -m bench.lists [--tasks 1000000] [--only TEXT] [--rounds 20]

On the database of DATABASE_URL, which must have no tasks and keeps those that this makes, or on a SQLite file in a
folder of its own, which is removed. Prints a line for each, with the processor time of this process and of its
PostgreSQL backend (if that is on this machine), which a busy machine changes less, and ends with 1 if one takes longer
than it may.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

#: Milliseconds that a first page of the API may take, and a page of the admin.
LIMITS = {"postgresql": (100.0, 300.0), "sqlite": (300.0, 600.0)}
#: Rows a second that an export sends, and rows that are measured.
EXPORTED, MEASURED = 10_000, 50_000
#: Tasks are created so far apart, in milliseconds; the last one when the table is filled.
APART = 10

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
        "id": f"(lpad(to_hex({{began}} + g * {APART}), 12, '0') || '70008000' || lpad(to_hex(g), 12, '0'))::uuid",
        "at": f"to_timestamp(({{began}} + g * {APART}) / 1000.0)",
        "result": "jsonb_build_object('n', g)",
        "tags": "jsonb_build_array('all', 'n:' || g)",
        "numbers": "generate_series(1, {n}::bigint) AS g",
    },
    "sqlite": {
        "id": f"printf('%012x70008000%012x', {{began}} + g * {APART}, g)",
        "at": f"strftime('%Y-%m-%d %H:%M:%f', ({{began}} + g * {APART}) / 1000.0, 'unixepoch') || '000'",
        "result": "json_object('n', g)",
        "tags": "json_array('all', 'n:' || g)",
        "numbers": "(WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < {n}) SELECT g FROM s)",
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="only lists and pages whose line has this text")
    parser.add_argument("--rounds", type=int, default=20, help="a figure is the median of so many")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lists-") as home:
        os.environ.update({"DAEMON_HOME": home, "DAEMON_SECRET_KEY": secrets.token_urlsafe(48)})
        os.environ.setdefault("HANDLER_CONFIG", str(Path(__file__).resolve().parents[1] / "handlers.toml"))
        return run(given.tasks, given.only, given.rounds)


def run(tasks: int, only: str, rounds: int) -> int:
    """Fill the database and measure. Returns the number of lists that took too long, at most 1."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from tasks_app.queue.current import store

    call_command("migrate", verbosity=0)
    with store().extended(None):
        fill(connection, tasks)
    slow = 0
    for may, measured in zip(LIMITS[connection.vendor], (lists(), pages()), strict=True):
        for what, call in measured:
            if only in what:
                took, spent = measure(call, rounds)
                slow += (late := took > may)
                print(f"{took:8.1f} ms {spent:8.1f} ms cpu {'SLOW' if late else '    '} {what[:120]}", flush=True)
    for what in EXPORTS:
        if only in what:
            slow += (late := (rate := exported(what)) < EXPORTED)
            print(f"{rate:8,.0f} rows/s {'SLOW' if late else '    '} {what}", flush=True)
    print(f"{slow} slow, with {tasks:,} tasks on {connection.vendor}")
    return min(slow, 1)


def measure(call: Callable[[], None], rounds: int) -> tuple[float, float]:
    """The median of the milliseconds that a call takes, and the mean of its processor time; after one that does not
    count."""
    call()
    times, before = [], processor_seconds()
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), (processor_seconds() - before) * 1000 / rounds


def processor_seconds() -> float:
    """Of this process and of its PostgreSQL backend, so far."""
    from django.db import connection

    backend = 0.0
    if connection.vendor == "postgresql" and connection.connection is not None:
        status = Path(f"/proc/{connection.connection.info.backend_pid}/stat")
        if status.exists():
            ticks = status.read_text().rpartition(")")[2].split()[11:13]
            backend = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + backend


def fill(connection: Any, tasks: int) -> None:
    """Insert the tasks. Raises SystemExit if there are others."""
    began = str(int(time.time() * 1000) - tasks * APART)
    words = {
        name: text.replace("{n}", str(tasks)).replace("{began}", began)
        for name, text in DIALECTS[connection.vendor].items()
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM taskdaemon_task")
        if (stored := cursor.fetchone()[0]) not in (0, tasks):
            raise SystemExit(f"the database has {stored:,} tasks; this needs an empty one")
        if not stored:
            cursor.execute(FILL.format(n=tasks, **words))
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM (ANALYZE) taskdaemon_task")


def stored(share: float) -> Any:
    """The task at a share of all."""
    from tasks_app.queue.models import Task

    ends = [Task.objects.order_by(order).values_list("pk", flat=True)[0].int >> 80 for order in ("pk", "-pk")]
    at = UUID(int=int(ends[0] + (ends[1] - ends[0]) * share) << 80)
    return Task.objects.filter(pk__gte=at, pk__lte=UUID(int=(1 << 128) - 1)).order_by("pk")[0]


def queries() -> Iterator[str]:
    """Each filter alone, with frequent and with rare values, and pairs of one value each; both orders."""
    ids = ",".join(str(stored(n / 200).pk) for n in range(200))
    early, middle, late = (f"{stored(share).created_at:%Y-%m-%dT%H:%M:%SZ}" for share in (0.01, 0.5, 0.99))
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


Measured = Iterator[tuple[str, Callable[[], None]]]


def lists() -> Measured:
    """First pages of the API."""
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    for query in queries():
        yield f"/api/tasks?{query}", partial(get, client, f"/api/tasks?{query}")


LIST = "/admin/tasks_app/task/"
#: Filters of the admin's list: each value that is frequent, rare or has no rows, and pairs.
FILTERS = (
    "", "p=150", "status=completed", "status=failed", "status=pending", "status=processing", "type=echo", "type=resize",
    "type=urgent", "type=none", "reason=handler_error", "reason=oom", "reason=timeout", "created=hour", "created=week",
    "failed=hour", "failed=week", "q=nowhere", "q=said+no", "q=said+no+7", "q=tag:all", "q=tag:nowhere", "q=key:none",
    "status=pending&type=resize", "status=pending&type=none", "status=completed&type=urgent", "type=none&reason=oom",
    "failed=hour&reason=oom", "failed=week&q=nowhere", "created=week&type=none", "status=completed&q=tag:nowhere",
)  # fmt: skip
#: Other pages.
PAGES = (
    "/admin/", "/admin/activity/", "/admin/handler/?type=echo", "/admin/tasks_app/failuregroup/",
    "/admin/tasks_app/operation/", "/admin/tasks_app/node/", "/admin/tasks_app/auditentry/",
)  # fmt: skip
#: Bulk acts whose page is measured, and on which filters.
ACTS = {
    "redrive_selected": ("status=failed", "reason=oom", "q=nowhere", "failed=week", "type=none"),
    "cancel_selected": ("status=pending", "type=resize", "q=tag:nowhere"),
    "delete_selected_tasks": ("", "type=none", "type=urgent", "status=completed", "q=tag:nowhere"),
}
EXPORTS = ("_format=csv", "_format=jsonl", "_format=csv&status=failed", "_format=jsonl&_payloads=yes")


def pages() -> Measured:
    """Pages of the admin: the list of tasks by its filters, others, and those before a bulk act."""
    client = administrator()
    for address in (*(f"{LIST}?{query}" for query in FILTERS), *PAGES):
        yield address, partial(get, client, address)
    for act, all_queries in ACTS.items():
        for query in all_queries:
            yield f"{act} {LIST}?{query}", partial(ask, client, act, f"{LIST}?{query}")


def administrator() -> Any:
    """A client that is logged in."""
    from django.contrib.auth.models import User
    from django.test import Client

    user, _ = User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client


def get(client: Any, address: str) -> None:
    """Read a page."""
    expect(client.get(address), address)


def ask(client: Any, act: str, address: str) -> None:
    """The page before an act on all that match; back to the list if none does."""
    chosen = {"action": act, "select_across": "1", "index": "0", "_selected_action": str(UUID(int=1))}
    expect(client.post(address, chosen, follow=True), f"{act} {address}")


def exported(query: str) -> float:
    """Rows a second of an export."""
    answer = administrator().get(f"{LIST}export/?{query}")
    expect(answer, query)
    began, rows = time.perf_counter(), 0
    for piece in answer.streaming_content:
        if (rows := rows + piece.count(b"\n")) >= MEASURED:
            break
    return rows / (time.perf_counter() - began)


def expect(answer: Any, what: str) -> None:
    """Raises SystemExit unless it is 200."""
    if answer.status_code != 200:
        raise SystemExit(f"{what}: {answer.status_code} {answer.content[:300]!r}")


if __name__ == "__main__":
    sys.exit(main())
