"""The plans of the verbs' statements: with 30,000 rows in the table, none of them scans it.

The plans are those of the statements that the verbs send.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from tasks_app.features.callbacks import UNTOLD
from tasks_app.features.history.models import HistoryRow
from tasks_app.queue.attempt import ClaimRequest, Selection
from tasks_app.queue.claim import claim, renew, rescue, still_held
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import expire, promote
from tasks_app.queue.models import Task
from tasks_app.queue.postgresql import claim as postgresql
from tasks_app.queue.postgresql.maintain import HIDDEN
from tasks_app.queue.postgresql.marks import EMPTY, LOOK
from tasks_app.queue.postgresql.scan_start import first_statement
from tasks_app.queue.postgresql.session import PLANNER_SETTINGS
from tasks_app.queue.sqlite import claim as sqlite
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from tests.queue.moves.kit import AT_ONCE, take
from tests.queue.store.parts import part

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rows")]
ORDERS: list[Selection] = ["fifo", "lifo", "priority"]
INDEX_OF = {"fifo": "task_ready_by_place", "lifo": "task_ready_by_place", "priority": "task_ready_by_priority"}
READY = {"task_ready_by_place", "task_ready_by_priority", "task_ready_again"}
PARTIAL = READY | {
    "task_waiting",
    "task_running",
    "task_not_begun",
    "task_ungrouped",
    "task_untold",
    "task_of_schedule",
}
#: Values of `due_work`'s statement on PostgreSQL.
DUE_WORK = "'mine', 0, 0, '{}', 0, 0, 0"
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
    """20,000 finished rows, 5,000 ready, 5,000 that wait, and a few that run, are due or have expired."""
    with connection.cursor() as cursor:
        cursor.execute(FINISHED[connection.vendor])
    if statistics == "idle":  # collected when no row was ready, waited or ran
        analyze()
    elif statistics == "busy":  # collected when most rows ran
        most = Task.objects.filter(position__lte=15_000)
        most.update(status="processing", node="x", lease=1.0, completed_at=None)
        analyze()
        most.update(status="completed", node=None, lease=None, completed_at=Now())
    for name in ("echo", "prime"):
        ids = submit_many([NewTask(name, {"n": n}, n % 101) for n in range(5_000)])
        waits = Task.objects.filter(pk__in=ids[2_500:])
        waits.update(due=store().now() + 3600.0, due_at="2999-01-01T00:00Z", attempts=1, clock=store().clock_id())
        few = Task.objects.filter(pk__in=ids[4_990:])
        few.filter(pk__in=ids[4_990:4_995]).update(due=store().now() - 1.0)
        few.filter(pk__in=ids[4_995:]).update(due_at=Now(), clock=EARLIER)
        Task.objects.filter(pk__in=ids[:5]).update(expires_at=Now())
        Task.objects.filter(pk__in=ids[5:15]).update(
            status="processing", node="dead", lease=store().now() - 1.0, attempts=1, started_at=Now(),
            clock=store().clock_id(), max_retries=3,
        )  # fmt: skip
    if statistics == "fresh":
        analyze()


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "VACUUM (ANALYZE) taskdaemon_task")


def forget_statistics() -> None:
    """On SQLite the usual state, because nothing runs ANALYZE there. TRUNCATE leaves what PostgreSQL has collected."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM pg_statistic WHERE starelid = 'taskdaemon_task'::regclass")
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'")
            if cursor.fetchone():
                cursor.execute("DELETE FROM sqlite_stat1")
        connection.close()  # a connection reads them when it is opened


def autovacuum(state: str) -> None:
    """Turns PostgreSQL's own ANALYZE on or off: while it is on, it may run between `fill` and a test."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE taskdaemon_task SET (autovacuum_enabled = {state})")


def empty() -> None:
    tables = [f"taskdaemon_{name}" for name in ("attempt", "task", "counter", "counter_delta")]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"TRUNCATE {', '.join(tables)}")
        else:
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")


@pytest.fixture(scope="module", params=["none", "idle", "busy", "fresh"])
def rows(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The full table, and the planner's statistics about it."""
    if request.param == "busy" and connection.vendor == "sqlite":
        pytest.skip("SQLite has statistics only after ANALYZE")
    # This runs before the fixtures of a test, so its notifications would be real.
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        patch.setattr("tasks_app.broker.notification.notify", lambda *_: None)
        autovacuum("off")
        empty()  # what other tests have rolled back has left large indexes
        forget_statistics()
        fill(request.param)
    yield
    with django_db_blocker.unblock():
        empty()
        analyze()
        autovacuum("on")
        forget_statistics()
        connection.close()


def explained(sql: str, params: Any) -> list[str]:
    """The lines of a statement's plan, with bound parameters."""
    if connection.vendor == "sqlite":
        raw = connection.connection
        return [str(line[3]) for line in raw.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()]
    raw = psycopg.RawCursor if "$1" in sql else psycopg.Cursor
    with raw(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN {sql}".encode(), params)
        return [str(line[0]).strip() for line in cursor.fetchall()]


def planned_once(sql: str, values: str) -> list[str]:
    """The lines of the generic plan, which a node's session uses (see `Store.session`)."""
    with connection.cursor() as cursor:
        cursor.execute(PLANNER_SETTINGS.replace("SET ", "SET LOCAL "))
        cursor.execute(f"PREPARE planned AS {sql}")
        cursor.execute(f"EXPLAIN EXECUTE planned ({values})")
        lines = [str(line[0]).strip() for line in cursor.fetchall()]
        cursor.execute("DEALLOCATE planned")
    return lines


def scans(plan: list[str]) -> list[str]:
    """The lines of a plan that read the task table other than by a partial index or by its key."""
    bad = []
    for n, line in enumerate(plan):
        if connection.vendor == "sqlite":
            if not re.match(r"(SCAN|SEARCH) (taskdaemon_task|task|t)\b", line):
                continue
            used = re.search(r"USING (?:COVERING )?INDEX (\w+)", line)
            ranged = line.startswith("SEARCH")
        else:
            if not re.search(r"(Scan .*on taskdaemon_task\b|Bitmap Index Scan on (?!taskdaemon_counter)task)", line):
                continue
            if "Bitmap Heap Scan" in line:
                continue  # the index scans below it name the index
            used = re.search(r"(?:using|Index Scan on) (\w+)", line)
            ranged = any("Index Cond" in after for after in plan[n + 1 : n + 3])
        name = used.group(1) if used else None
        if name not in PARTIAL and not (name in BY_ID and ranged):
            bad.append(line)
    return bad


@contextmanager
def plans() -> Iterator[list[tuple[str, list[str]]]]:
    """The plans of all statements on tasks that are sent through Django within the block."""
    seen: list[tuple[str, list[str]]] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if "taskdaemon_task" in sql and not many and not sql.lstrip().startswith("INSERT"):
            bound = sql if connection.vendor == "postgresql" else sql.replace("%s", "?").replace("%%", "%")
            seen.append((sql, explained(bound, params or ())))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield seen


@pytest.mark.parametrize("order", ORDERS)
def test_8_a_claim_reads_the_best_rows_from_the_index_of_its_order_and_sorts_nothing(order: Selection) -> None:
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        plan = explained(sqlite.best_of_type(order), ("echo", 8))
        bound = ("n", 1.0, "c", "2026-01-01", 1.0, 1, 1.0, "error", 1)
        moved = explained(sqlite.CLAIM, bound)
        assert moved == ["SEARCH taskdaemon_task USING INTEGER PRIMARY KEY (rowid=?)"]
    else:
        plan = planned_once(postgresql.claim_by_type(order), "'[]', 'n', 30.0, 1")
        values = "'echo', 'n', 30.0, 8, 1.0, 1, 1.0, '', 0, '{0}', '{0}', '{0}', 1"
        of_one = planned_once(postgresql.claim_one_type(order), values)
        assert scans(of_one) == [] and reads_in_order(of_one, order), of_one
    assert scans(plan) == []
    assert reads_in_order(plan, order), plan


def reads_in_order(plan: list[str], order: Selection) -> bool:
    """Whether a plan reads ready rows along its order's index only, and sorts nothing but rows that came back."""
    if connection.vendor == "sqlite":
        return any(INDEX_OF[order] in line for line in plan) and not any("TEMP B-TREE" in line for line in plan)
    lines = [line.lstrip("-> ") for line in plan]
    used = {line.split(" using ")[1].split()[0] for line in lines if " using task_ready" in line}
    sorts = [n for n, line in enumerate(lines) if line.startswith("Sort Key: taskdaemon_task")]
    below = [next(line for line in lines[n:] if " Scan " in line) for n in sorts]
    # A capped claim also merges what it has found of several types.
    return used == {INDEX_OF[order], "task_ready_again"} and all(
        "task_ready_again" in line or "json_to_recordset" in line for line in below
    )


@pytest.mark.parametrize("order", ORDERS)
def test_8_a_capped_claim_reads_the_same_index_and_claims_by_id(order: Selection) -> None:
    requests = [ClaimRequest(name, 5, AT_ONCE) for name in ("echo", "prime")]
    assert len(claim("node", requests, order, cap=5)) == 5
    if connection.vendor == "sqlite":
        read = explained(sqlite.positions_of_type(order), ("echo", 5))
        assert scans(read) == [] and reads_in_order(read, order), read
    else:
        read = planned_once(postgresql.best_of_types(order), "'[]', 5")
        assert scans(read) == [] and reads_in_order(read, order), read
        plan = planned_once(postgresql.CLAIM_BY_ID, f"'[]', 'n', 30.0, ARRAY['{uuid4()}']::uuid[], 1")
        assert scans(plan) == []
        assert any("taskdaemon_task_pkey" in line for line in plan)


def holding() -> object:
    tasks = take(8, node="mine")
    assert len(still_held("mine", [task.id for task in tasks])) == 8
    return renew("mine", [task.id for task in tasks])


VERBS: dict[str, Callable[[], object]] = {
    "the tasks of a schedule": lambda: not list(Task.objects.of_schedule("nightly", 5).values_list("completed_at")[:9]),
    "promote": promote,
    "promote on the present clock": lambda: promote(all_clocks=False),
    "rescue of leases": rescue,
    "rescue of the dead": lambda: rescue(["dead", "gone"], expired_leases=False),
    "renew and held": holding,
    "expire": expire,
}


@pytest.mark.parametrize("verb", list(VERBS))
def test_no_verb_scans_the_table(verb: str) -> None:
    with plans() as seen:
        assert VERBS[verb](), "it had nothing to do"
    assert seen
    assert [(sql, bad) for sql, plan in seen if (bad := scans(plan))] == []


def test_a_node_reads_the_tasks_that_it_runs_by_their_keys() -> None:
    """The index of running tasks may be full of dead entries."""
    with plans() as seen:
        holding()
    read = [line for sql, plan in seen if not sql.startswith("WITH") for line in plan if "task_running" in line]
    assert seen and read == []


def test_10_ready_types_are_read_along_an_index() -> None:
    names = ["echo", "prime", "none"]
    assert store().ready_types(names) == {"echo", "prime"}
    if connection.vendor == "sqlite":
        plan = explained(sqlite.READY_TYPES, (json.dumps(names),))
    else:
        plan = planned_once(LOOK, "'[]', '[]'")
    assert scans(plan) == []


@pytest.mark.parametrize("order", ORDERS)
def test_34_what_comes_before_a_task_is_counted_along_the_index_of_its_order(order: Selection) -> None:
    sql = part("queued_before").statement(order)
    if connection.vendor == "sqlite":
        plan = explained(sql, {"type": "echo", "priority": 50, "position": 9, "limit": 100})
        assert scans(plan) == [] and reads_in_order(plan, order), plan
        return
    values = "'echo', 9, 50, 100, 0, '{7}', '{7}', '{0}'"
    for plan in (planned_once(sql, values), planned_without_settings(sql, values)):
        assert scans(plan) == [] and reads_in_order(plan, order), plan


def planned_in_all_ways(sql: str, values: str) -> list[list[str]]:
    """The plans of a prepared statement: for these values, for any, and in the session of a node."""
    return [
        planned_without_settings(sql, values),
        planned_without_settings(sql, values, mode="force_generic_plan"),
        planned_once(sql, values),
    ]


def planned_without_settings(sql: str, values: str, mode: str = "auto") -> list[str]:
    """The lines of the plan in the session of a web server."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
        cursor.execute(f"PREPARE planned AS {sql}")
        cursor.execute(f"EXPLAIN EXECUTE planned ({values})")
        lines = [str(line[0]).strip() for line in cursor.fetchall()]
        cursor.execute("DEALLOCATE planned")
    return lines


def test_a_search_for_what_marks_hide_reads_along_an_index() -> None:
    if connection.vendor == "postgresql":
        assert scans(planned_once(HIDDEN, "'[]'")) == []


def test_16_due_work_is_read_along_indexes() -> None:
    found = store().due_work("mine")
    assert found.due and found.holders == ("dead",) and found.due_on_old_clock and found.lost and found.expired
    sql = part("due_work").due_work_statement()
    if connection.vendor == "sqlite":
        assert scans(explained(sql, {"now": 1.0, "clock": "c", "node": "mine"})) == []
        return
    for values in (DUE_WORK, DUE_WORK.replace("{}", f"{{{uuid4()}}}")):
        for plan in planned_in_all_ways(sql, values):
            assert scans(plan) == [], plan


def test_16_whether_the_history_has_the_present_minute_is_read_by_its_key() -> None:
    HistoryRow.objects.bulk_create(HistoryRow(minute=n, totals={}, handlers={}, last_attempt=0) for n in range(20_000))
    sql = part("due_work").due_work_statement()
    if connection.vendor == "sqlite":
        plan = explained(sql, {"now": 1.0, "clock": "c", "node": "mine"})
        [line] = [line for line in plan if "taskdaemon_history" in line]
        assert re.match(r"SEARCH taskdaemon_history USING .*\(minute=\?\)", line), line
        return
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE taskdaemon_history")
    plan = planned_once(sql, DUE_WORK)
    assert any("taskdaemon_history_pkey" in line for line in plan), plan
    assert not any("Seq Scan on taskdaemon_history" in line for line in plan), plan


def test_promote_reads_due_rows_and_not_all_that_wait() -> None:
    with plans() as seen:
        promote()
    reads = [plan for sql, plan in seen if sql.startswith("SELECT")]
    assert reads
    if connection.vendor == "sqlite":
        assert all("SEARCH" in line for plan in reads for line in plan if "taskdaemon_task" in line)
    else:
        assert all(any("Index Cond" in line for line in plan) for plan in reads)
        now = [plan for plan in reads if any(re.search(r"clock\)::text = 'server'", line) for line in plan)]
        assert now
        assert all(any("Index Cond" in line and "due <=" in line for line in plan) for plan in now)


def test_17_a_reading_reads_no_final_task() -> None:
    connection.ensure_connection()
    assert scans(explained(part("reading").READING, ())) == []
    assert scans(explained(part("reading").RUNS, ("0", "{}") if connection.vendor == "postgresql" else ())) == []


@pytest.mark.parametrize("order", ORDERS)
def test_44_a_reading_reads_each_index_from_where_it_begins(order: Selection) -> None:
    if connection.vendor == "sqlite":
        return
    segments = [f"'{{{number}}}'" for number in EMPTY[order].segments()[0]]
    known = [{"type": "echo", "since": 9, "new": 9, "again": 9, "a": [9], "b": [9], "c": [9]}]
    for types in ([], known):
        values = f"'{json.dumps(types)}', {', '.join(segments)}, 0, 9, '{{{uuid4()}}}'"
        for plan in planned_in_all_ways(part("reading").reading_statement(order), values):
            used = set(re.findall(r"task_\w+", " ".join(plan))) & PARTIAL
            assert scans(plan) == [], plan
            assert used == {INDEX_OF[order], "task_ready_by_place", "task_ready_again", "task_waiting", "task_running"}
    for plan in planned_in_all_ways(first_statement(), "'[]', 9, '{}', 0, 0, 0, 0"):
        assert scans(plan) == [], plan


def test_44_running_tasks_are_read_by_their_time_and_by_their_keys() -> None:
    if connection.vendor == "postgresql":
        for plan in planned_in_all_ways(part("reading").RUNS, f"9, '{{{uuid4()}}}'"):
            assert scans(plan) == [], plan
            assert any("started_at >=" in line and "Index Cond" in line for line in plan), plan
            assert any("taskdaemon_task_pkey" in line for line in plan), plan


def test_44_ends_that_are_to_be_told_are_found_by_their_index() -> None:
    untold = (
        Task.objects.where(UNTOLD).filter(completed_at__gte=datetime(2020, 1, 1, tzinfo=UTC)).order_by("completed_at")
    )
    with transaction.atomic():
        for rows in (untold.values_list("pk")[:1], untold.select_for_update(skip_locked=True)[:200]):
            plan = rows.explain().splitlines()
            assert scans(plan) == [] and any("task_untold" in line for line in plan), plan


def test_31_final_tasks_are_read_by_their_keys() -> None:
    connection.ensure_connection()
    sql = part("final_or_gone").READ_FINAL_OR_GONE
    if connection.vendor == "sqlite":
        plan = explained(sql, (json.dumps([uuid4().hex]),))
    else:
        plan = planned_once(sql, f"ARRAY['{uuid4()}']::uuid[]")
    assert scans(plan) == []
    assert any(index in line for line in plan for index in BY_ID), plan


def test_39_versions_are_read_by_keys() -> None:
    connection.ensure_connection()
    sql = part("versions").READ_VERSIONS
    if connection.vendor == "sqlite":
        plan = explained(sql, (json.dumps([uuid4().hex]),))
    else:
        plan = planned_once(sql, f"ARRAY['{uuid4()}']::uuid[]")
    assert scans(plan) == []
    assert any(index in line for line in plan for index in BY_ID), plan
