"""What the statements read: with 30,000 rows in the table, none of them reads the table.

The plans are those of the very statements that the verbs send, taken down as they are sent.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection

from tasks_app import clock
from tasks_app.lifecycle import (
    NewTask,
    Policy,
    Want,
    expire,
    held,
    look,
    promote,
    renew,
    rescue,
    submit_many,
    waiting,
)
from tasks_app.lifecycle import claim as claim_verb
from tasks_app.lifecycle.claim import Selection, best_by_type, best_of_type
from tasks_app.metrics.reading import statement
from tasks_app.models import Task
from tests.lifecycle.kit import AT_ONCE, take

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rows")]
CLAIM = claim_verb.__globals__
LOOK = look.__globals__
ORDERS: list[Selection] = ["fifo", "lifo", "priority"]
INDEX_OF = {"fifo": "task_ready_by_place", "lifo": "task_ready_by_place", "priority": "task_ready_by_priority"}
READY = {"task_ready_by_place", "task_ready_by_priority", "task_ready_again"}
PARTIAL = READY | {"task_waiting", "task_running", "task_expiring"}
BY_ID = {"sqlite_autoindex_taskdaemon_task_1", "taskdaemon_task_pkey"}
EARLIER = "an earlier boot"


_INTO = (
    "INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries,"
    " clock, retry_on, created_at, ready_at, completed_at)"
    " SELECT {id}, 'echo', '{{}}', g % 101, 'completed', g, 1, 0, '', '', {now}, {now}, {now} FROM "
)
FINISHED = {
    "sqlite": "WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < 20000) "
    + _INTO.format(id="lower(hex(randomblob(16)))", now="datetime('now')")
    + "s",
    "postgresql": _INTO.format(id="gen_random_uuid()", now="now()") + "generate_series(1, 20000) AS g",
}


def fill(statistics: str) -> None:
    """20,000 finished rows, 5,000 ready and 5,000 that wait, and a few that run, are due, have expired."""
    with connection.cursor() as cursor:
        cursor.execute(FINISHED[connection.vendor])
    if statistics == "idle":  # of a time when nothing was ready, waited or ran
        analyze()
    elif statistics == "busy":  # of a time when most rows were in some node's hands
        most = Task.objects.filter(place__lte=15_000)
        most.update(status="processing", node="x", lease=1.0, completed_at=None)
        analyze()
        most.update(status="completed", node=None, lease=None, completed_at=clock.Now())
    for name in ("echo", "prime"):
        ids = submit_many([NewTask(name, {"n": n}, n % 101) for n in range(5_000)])
        waits = Task.objects.filter(pk__in=ids[2_500:])
        waits.update(due=clock.now() + 3600.0, due_at="2999-01-01T00:00Z", attempts=1, clock=clock.clock_id())
        few = Task.objects.filter(pk__in=ids[4_990:])
        few.filter(pk__in=ids[4_990:4_995]).update(due=clock.now() - 1.0)
        few.filter(pk__in=ids[4_995:]).update(due_at=clock.Now(), clock=EARLIER)
        Task.objects.filter(pk__in=ids[:5]).update(expires_at=clock.Now())
        Task.objects.filter(pk__in=ids[5:15]).update(
            status="processing", node="dead", lease=clock.now() - 1.0, attempts=1, started_at=clock.Now(),
            clock=clock.clock_id(), max_retries=3,
        )  # fmt: skip
    if statistics == "fresh":
        analyze()


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "VACUUM (ANALYZE) taskdaemon_task")


def forget_statistics() -> None:
    """Nobody runs ANALYZE on SQLite: there it is the usual state."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'")
            if cursor.fetchone():
                cursor.execute("DELETE FROM sqlite_stat1")
        connection.close()  # a connection reads them when it is opened


@pytest.fixture(scope="module", params=["none", "idle", "busy", "fresh"])
def rows(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The full table, and the planner's statistics about it."""
    if request.param == "busy" and connection.vendor == "sqlite":
        pytest.skip("SQLite has statistics only if somebody runs ANALYZE")
    # Before any fixture of a single test: these bells would be real.
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        patch.setattr(sys.modules[submit_many.__module__], "ring", lambda *_: None)
        forget_statistics()
        fill(request.param)
    yield
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            for table in ("attempt", "task", "counter"):
                cursor.execute(f"DELETE FROM taskdaemon_{table}")
        analyze()
        forget_statistics()
        connection.close()


def explained(sql: str, params: Any) -> list[str]:
    """The lines of a statement's plan, with its parameters bound as the verb binds them."""
    if connection.vendor == "sqlite":
        raw = connection.connection
        return [str(line[3]) for line in raw.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()]
    raw = psycopg.RawCursor if "$1" in sql else psycopg.Cursor
    with raw(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN {sql}".encode(), params)
        return [str(line[0]).strip() for line in cursor.fetchall()]


def planned_once(sql: str, values: str) -> list[str]:
    """The lines of the plan that a node's session makes for all executions of a statement (see `ServerSession`)."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL plan_cache_mode = force_generic_plan; PREPARE planned AS {sql}")
        cursor.execute(f"EXPLAIN EXECUTE planned ({values})")
        lines = [str(line[0]).strip() for line in cursor.fetchall()]
        cursor.execute("DEALLOCATE planned")
    return lines


def scans(plan: list[str]) -> list[str]:
    """The lines of a plan that read the task table by anything but a partial index or its key."""
    bad = []
    for n, line in enumerate(plan):
        if connection.vendor == "sqlite":
            if not re.match(r"(SCAN|SEARCH) (taskdaemon_task|task|t)\b", line):
                continue
            used = re.search(r"USING (?:COVERING )?INDEX (\w+)", line)
            ranged = line.startswith("SEARCH")
        else:
            if not re.search(r"(Scan .*on taskdaemon_task\b|Bitmap Index Scan on task)", line):
                continue
            if "Bitmap Heap Scan" in line:
                continue  # what it reads is said by the index scans below it
            used = re.search(r"(?:using|Index Scan on) (\w+)", line)
            ranged = any("Index Cond" in after for after in plan[n + 1 : n + 3])
        name = used.group(1) if used else None
        if name not in PARTIAL and not (name in BY_ID and ranged):
            bad.append(line)
    return bad


@contextmanager
def plans() -> Iterator[list[tuple[str, list[str]]]]:
    """The plans of all statements about tasks that are sent through Django meanwhile, each before it is done."""
    seen: list[tuple[str, list[str]]] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if "taskdaemon_task" in sql and not many and not sql.lstrip().startswith("INSERT"):
            bound = sql if connection.vendor == "postgresql" else sql.replace("%s", "?").replace("%%", "%")
            seen.append((sql, explained(bound, params or ())))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield seen


@pytest.mark.parametrize("order", ORDERS)
def test_a_claim_reads_the_best_rows_from_the_index_of_its_order_and_sorts_nothing(order: Selection) -> None:
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        plan = explained(best_of_type(order), ("echo", 8))
        bound = ("n", 1.0, "c", "2026-01-01", 1.0, 1, 1.0, "error", 1)
        moved = explained(CLAIM["_SQLITE_MOVE"], bound)
        assert moved == ["SEARCH taskdaemon_task USING INTEGER PRIMARY KEY (rowid=?)"]
    else:
        sql = CLAIM["_POSTGRESQL"].replace("{best}", best_by_type(order))
        policy = Policy(1.0, 1, 1.0, frozenset())
        wants = CLAIM["_as_json"]([Want("echo", 8, policy), Want("prime", 2, policy)])
        plan = explained(sql, (wants, "n", 30.0))
        of_one = planned_once(CLAIM["_of_one"](order), "'echo', 'n', 30.0, 8, 1.0, 1, 1.0, ''")
        assert scans(of_one) == [] and any(INDEX_OF[order] in line for line in of_one), of_one
        assert not [line for line in of_one if line.lstrip("-> ").startswith("Sort")]
    assert scans(plan) == []
    assert any(INDEX_OF[order] in line for line in plan), plan
    assert not [line for line in plan if "TEMP B-TREE" in line or line.lstrip("-> ").startswith("Sort")]


@pytest.mark.parametrize("order", ORDERS)
def test_a_capped_claim_looks_through_the_same_index_and_takes_by_id(order: Selection) -> None:
    wants = [Want(name, 5, AT_ONCE) for name in ("echo", "prime")]
    with plans() as seen:
        assert len(claim_verb("node", wants, order, cap=5)) == 5
    assert len(seen) == 2
    for _, plan in seen:
        assert scans(plan) == []
        assert any(INDEX_OF[order] in line for line in plan), plan
        assert not [line for line in plan if "TEMP B-TREE" in line or line.lstrip("-> ").startswith("Sort")]
    if connection.vendor == "postgresql":
        wants = CLAIM["_as_json"]([Want("echo", 8, Policy(1.0, 1, 1.0, frozenset()))])
        ids = list(Task.objects.ready().values_list("pk", flat=True)[:8])
        plan = explained(CLAIM["_BY_ID"], (wants, "n", 30.0, ids))
        assert scans(plan) == []
        assert any("taskdaemon_task_pkey" in line for line in plan)


def holding() -> object:
    tasks = take(8, node="mine")
    assert len(held("mine")) == 8
    return renew("mine", [task.id for task in tasks])


VERBS: dict[str, Callable[[], object]] = {
    "promote": promote,
    "promote of the present clock": lambda: promote(all_clocks=False),
    "rescue of leases": rescue,
    "rescue of the dead": lambda: rescue(["dead", "gone"], leases=False),
    "renew and held": holding,
    "expire": expire,
}


@pytest.mark.parametrize("verb", list(VERBS))
def test_no_verb_reads_the_table(verb: str) -> None:
    with plans() as seen:
        assert VERBS[verb](), "it had nothing to do"
    assert seen
    assert [(sql, bad) for sql, plan in seen if (bad := scans(plan))] == []


def test_what_has_ready_rows_is_found_along_an_index() -> None:
    names = ["echo", "prime", "none"]
    assert waiting(names) == {"echo", "prime"}
    sql = CLAIM["_WAITING_POSTGRESQL" if connection.vendor == "postgresql" else "_WAITING_SQLITE"]
    assert scans(explained(sql, (json.dumps(names),))) == []


@pytest.mark.parametrize("seldom", [False, True])
def test_a_look_reads_the_table_along_its_indexes_alone(seldom: bool) -> None:
    seen = look("mine", seldom)
    assert seen.due and seen.others == ("dead",)
    assert not seldom or (seen.due_elsewhere and seen.lost and seen.expired)
    sql = LOOK["statement"](connection.vendor, seldom)
    bound = ("mine",) if connection.vendor == "postgresql" else {"now": 1.0, "clock": "c", "node": "mine"}
    assert scans(explained(sql, bound)) == []
    if connection.vendor == "postgresql":  # sent again and again, it has a plan that knows no values
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            cursor.execute(f"PREPARE look AS {sql}")
            try:
                assert scans(explained("EXECUTE look('mine')", None)) == []
            finally:
                cursor.execute("DEALLOCATE look")


def test_promoting_reads_what_is_due_and_not_all_that_waits() -> None:
    with plans() as seen:
        promote()
    looks = [plan for sql, plan in seen if sql.startswith("SELECT")]
    assert looks
    if connection.vendor == "sqlite":
        assert all("SEARCH" in line for plan in looks for line in plan if "taskdaemon_task" in line)
    else:
        assert all(any("Index Cond" in line for line in plan) for plan in looks)
        now = [plan for plan in looks if any(re.search(r"clock\)::text = 'server'", line) for line in plan)]
        assert now
        assert all(any("Index Cond" in line and "due <=" in line for line in plan) for plan in now)


def test_counting_what_is_not_finished_reads_no_finished_row() -> None:
    connection.ensure_connection()
    assert scans(explained(statement(), ())) == []


def test_this_test_would_see_a_scan() -> None:
    connection.ensure_connection()
    assert scans(explained("SELECT id FROM taskdaemon_task WHERE node = 'x' ORDER BY id", ()))
    assert scans(explained("SELECT count(*) FROM taskdaemon_task WHERE retries > 5", ()))
