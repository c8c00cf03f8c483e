"""The pages stay quick with a hundred thousand finished tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.admin import lists
from tasks_app.features.alerts.models import Alert
from tasks_app.features.failures.models import FailureGroup
from tasks_app.features.history.history import present_minute
from tasks_app.features.history.models import HistoryRow
from tasks_app.features.operations import acts
from tasks_app.features.operations.models import Operation
from tasks_app.metrics import system_reading
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue import task_search
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Counter
from tests.admin.rows import many, task

pytestmark = pytest.mark.database

ROWS = 100_000
LIST = "/admin/tasks_app/task/"
PAGES = [
    "/admin/",
    LIST,
    f"{LIST}?p=150",
    f"{LIST}?status=failed",
    f"{LIST}?status=pending",
    f"{LIST}?status=processing",
    f"{LIST}?status=completed",
    f"{LIST}?reason=crash",
    f"{LIST}?failed=hour&reason=crash",
    f"{LIST}?created=hour",
    f"{LIST}?q=broke",
    f"{LIST}?q=01a21069",
    f"{LIST}?q=tag:nightly",
    f"{LIST}?q=tag:nightly&status=failed",
    f"{LIST}?q=tag:nightly+broke&type=echo",
    f"{LIST}?q=key:invoice-7",
    f"{LIST}?q=key:invoice-7&reason=crash",
    f"{LIST}?type=echo",
    "/admin/search/?q=01a21069-f69d",
    "/admin/search/?q=broke",
    "/admin/search/?q=tag:nightly",
    f"{LIST}?o=3.-6",
    "/admin/handler/?type=echo",
]


@pytest.mark.django_db
def test_no_page_reads_the_whole_table(admin: Client) -> None:
    many(ROWS)
    for status in ("pending", "processing", "failed"):
        task(status, tags=["nightly"], unique_key=f"invoice-{status}")
    assert rows_read("SELECT count(last_error) FROM taskdaemon_task") > ROWS // 2, "what this test would notice"
    for page in PAGES:
        for sql in about_tasks(admin, page):
            assert rows_read(sql) < ROWS // 2, f"{page}: {sql}"
            assert counts_no_further_than_it_must(sql), f"{page}: {sql}"
            assert not re.search(r'"(task_data|result)"', sql), f"{page} reads payloads: {sql}"


#: Rows that a list looks at in the tests below, of how many, and how many a statement may read.
FEW, SOME, MOST = 200, 20_000, 3_000
SEARCHES = (
    "", "p=4", "type=none", "type=echo", "reason=oom", "reason=crash&type=none", "status=failed", "status=completed",
    "status=failed&type=none", "status=completed&type=none", "status=pending", "status=pending&type=none",
    "status=pending&q=tag:no", "failed=week", "failed=week&reason=oom", "failed=hour", "created=week&type=none",
    "q=nowhere", "q=broke", "q=tag:no", "q=tag:no+broke", "q=key:none", "q=key:none&reason=oom", "group=7",
    "group=7&q=nowhere", f"older={UUID(int=0x3000)}", f"older={UUID(int=0x3000)}&type=none",
)  # fmt: skip
ACTS = ("redrive_selected", "cancel_selected", "delete_selected_tasks")


@pytest.fixture
def mixed(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of which a third each has failed, waits and has completed; lists look at few rows of it."""
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", FEW)
    monkeypatch.setattr(lists, "MAX_COUNTED_ROWS", FEW)
    monkeypatch.setattr(acts, "ROWS_READ", FEW)
    many(SOME)
    third, late = SOME // 3, timezone.now() - timedelta(days=2)
    Task.objects.filter(status="failed").update(status="completed", failure_reason=None)
    newest, oldest = Task.objects.filter(position__gt=2 * third), Task.objects.filter(position__lte=third)
    newest.update(status="pending", completed_at=None, failure_reason=None)
    oldest.update(status="failed", completed_at=late, failure_reason="crash", failure_group=7, last_error="it broke")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE taskdaemon_task")


@pytest.mark.usefixtures("mixed")
def test_a_list_looks_at_few_rows_whatever_it_filters_for(admin: Client) -> None:
    assert rows_read("SELECT count(last_error) FROM taskdaemon_task") > MOST, "what this test would notice"
    for query in SEARCHES:
        bounded(query, about_tasks(admin, f"{LIST}?{query}"))


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("act", ACTS)
def test_the_page_before_a_bulk_act_looks_at_few_rows_whatever_is_meant(admin: Client, act: str) -> None:
    chosen = {"action": act, "select_across": "1", "index": "0", "_selected_action": "x"}
    for query in SEARCHES:
        with CaptureQueriesContext(connection) as captured:
            assert admin.post(f"{LIST}?{query}", chosen, follow=True).status_code == 200
        bounded(f"{act} {query}", [one["sql"] for one in captured if "taskdaemon_task" in one["sql"]])


@pytest.mark.usefixtures("mixed")
def test_a_part_of_an_export_looks_at_few_rows_whatever_it_filters_for(admin: Client) -> None:
    for query in ("type=none", "status=pending", "q=nowhere", "failed=week&reason=oom"):
        with CaptureQueriesContext(connection) as captured:
            answer = admin.get(f"{LIST}export/?{query}")
            b"".join(islice(iter(answer), 3))
        bounded(query, {one["sql"] for one in captured if "taskdaemon_task" in one["sql"]}, most=10_000)


def bounded(what: str, statements: Iterable[str], most: int = 16) -> None:
    """Check that few statements read few rows."""
    statements = [sql for sql in statements if "AS kind" not in sql]  # the metrics count all ready tasks
    assert len(statements) <= most, f"{what}: {statements}"
    for sql in statements:
        assert rows_read(sql) <= MOST, f"{what}: {rows_read(sql)} {sql[:1000]} {plan(sql)[:2000]}"


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "&type=prime"])
def test_the_pending_tasks_are_listed_however_many_they_are(
    admin: Client, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task("completed")
    task("failed")
    found = [task("pending", task_type=name) for name in ("echo", "echo", "prime", "prime")]
    Task.objects.filter(pk__in=[found[0].pk, found[2].pk]).update(due=1.0, due_at="2999-01-01T00:00Z")
    expected = sorted((each.pk for each in (found[2:] if name else found)), reverse=True)
    for most in (1, 2, 3, 50):
        monkeypatch.setattr(task_search, "MAX_ROWS_READ", most)
        assert along(admin, f"status=pending{name}") == expected


@pytest.mark.django_db
@pytest.mark.parametrize("most", [1, 2, 3, 7, 50])
def test_who_looks_further_back_sees_each_task_once(admin: Client, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", most)
    tasks = [task("failed" if n % 3 else "completed", task_type="ab"[n % 2], tags=["t"]) for n in range(12)]
    failed = [one for one in tasks if one.status == "failed"]
    for query, expected in (
        ("type=a", tasks[::2]), ("q=tag:t", tasks), ("reason=handler_error", failed),
        ("q=work", failed), ("failed=hour", failed), ("status=completed", tasks[::3]), ("type=none", []),
    ):  # fmt: skip
        assert along(admin, query) == [one.pk for one in reversed(expected)], query


def along(client: Client, query: str) -> list[UUID]:
    """The ids of a list and of all that follow by its link to look further."""
    found: list[UUID] = []
    address = f"?{query}"
    for _ in range(100):
        answer = client.get(f"{LIST}{address}")
        shown = answer.context["cl"]
        found += [one.pk for one in shown.result_list]
        assert ("Look further back" in answer.text) == bool(shown.further)
        assert ("Back to the newest" in answer.text) == bool(shown.newest) == ("older=" in address)
        if not (address := shown.further):
            return found
        assert " among " in answer.text and "Looked at " in answer.text
    raise AssertionError(f"{query}: it does not end")


@pytest.mark.django_db
def test_the_dashboard_sends_as_many_statements_of_many_troubles_as_of_few(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_reading, "REUSE_SECONDS", 3600.0)  # on a busy machine one page might read anew
    counts = [len(troubled(admin, range(few, many))) for few, many in ((0, 2), (2, 40))]
    assert counts[0] == counts[1] < 60


def troubled(admin: Client, numbers: range) -> list[str]:
    """The statements of the dashboard once so many more handlers fail, alerts fire, and operations run."""
    now, last = timezone.now(), task().pk
    HistoryRow.objects.get_or_create(minute=present_minute() - 15, totals={}, handlers={}, last_attempt=0)
    for number in numbers:
        name = f"h{number}"
        for series in (f"received|{name}", f"failed|{name}|crash"):
            Counter.objects.create(slot=0, series=series, value=number + 1)
        FailureGroup.objects.create(fingerprint=number + 1, handler=name, reason="crash", first_seen=now, last_seen=now)
        Alert.objects.create(key=f"failed_share|{name}", firing=True, since=now)
        Operation.objects.create(verb="redrive", filter={}, last_id=last, created_at=now, matched=5, done=1)
    current_reading(refresh=True)
    with CaptureQueriesContext(connection) as captured:
        text = admin.get("/admin/").text
    assert text.count("failuregroup/") > numbers[-1] // 4 and f"h{numbers[-1]}<" in text
    return [one["sql"] for one in captured]


def about_tasks(client: Client, page: str) -> list[str]:
    """The statements that a page sends about tasks."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(page, follow=True).status_code == 200
    return [one["sql"] for one in captured if "taskdaemon_task" in one["sql"]]


def counts_no_further_than_it_must(sql: str) -> bool:
    """Whether a COUNT has a LIMIT, or uses an index of unfinished tasks."""
    literal = ("status = 'pending'", "status = 'processing'")
    return "count(" not in sql.lower() or "LIMIT 10000" in sql or any(part in sql for part in literal)


def plan(sql: str) -> str:
    """How PostgreSQL executes a statement."""
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) " + sql, [])
        return "\n".join(row[0] for row in cursor.fetchall())


def rows_read(sql: str) -> int:
    """A lower bound of the rows that a statement reads. On SQLite from the steps of its program: five or more a row."""
    sql = sql.replace("%", "%%")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            seen = plan(sql)
            return max(int(n) for n in [*re.findall(r"rows=(\d+)", seen), *re.findall(r"Filter: (\d+)", seen)])
        thousands: list[None] = []
        connection.connection.set_progress_handler(lambda: thousands.append(None), 1000)
        try:
            cursor.execute(sql, [])
            cursor.fetchall()
        finally:
            connection.connection.set_progress_handler(None, 0)
        return len(thousands) * 1000 // 5
