"""The pages stay quick with a hundred thousand finished tasks."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.admin import task_list
from tasks_app.features.alerts.models import Alert
from tasks_app.features.failures.models import FailureGroup
from tasks_app.features.history.history import present_minute
from tasks_app.features.history.models import HistoryRow
from tasks_app.features.operations.models import Operation
from tasks_app.metrics.system_reading import current_reading
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


@pytest.mark.django_db
def test_of_very_many_pending_tasks_no_page_reads_all(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    few = 500
    monkeypatch.setattr(task_list, "MAX_PENDING_READ", few)
    many(ROWS)
    Task.objects.update(status="pending", completed_at=None, failure_reason=None)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE taskdaemon_task")
    waits = Task.objects.filter(pk=Task.objects.order_by("-pk").values("pk")[:1])
    waits.update(due=1.0, due_at="2999-01-01T00:00Z")
    for page in (f"{LIST}?status=pending", f"{LIST}?status=pending&type=none"):
        for sql in about_tasks(admin, page):
            if "AS kind" not in sql:  # the metrics, which count all ready tasks
                assert rows_read(sql) < ROWS // 2, f"{page}: {sql}"


@pytest.mark.django_db
@pytest.mark.parametrize("most", [0, 1, 50_000])
@pytest.mark.parametrize("name", ["", "&type=prime"])
def test_the_pending_tasks_are_listed_however_many_they_are(
    admin: Client, monkeypatch: pytest.MonkeyPatch, most: int, name: str
) -> None:
    monkeypatch.setattr(task_list, "MAX_PENDING_READ", most)
    task("completed")
    task("failed")
    found = [task("pending", task_type=name) for name in ("echo", "echo", "prime", "prime")]
    Task.objects.filter(pk__in=[found[0].pk, found[2].pk]).update(due=1.0, due_at="2999-01-01T00:00Z")
    listed = admin.get(f"{LIST}?status=pending{name}").context["cl"].result_list
    expected = found[2:] if name else found
    assert [each.pk for each in listed] == sorted((each.pk for each in expected), reverse=True)


@pytest.mark.django_db
def test_the_dashboard_sends_as_many_statements_of_many_troubles_as_of_few(admin: Client) -> None:
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


def rows_read(sql: str) -> int:
    """A lower bound of the rows that a statement reads. On SQLite from the steps of its program: five or more a row."""
    sql = sql.replace("%", "%%")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) " + sql, [])
            plan = "\n".join(row[0] for row in cursor.fetchall())
            return max(int(n) for n in [*re.findall(r"rows=(\d+)", plan), *re.findall(r"Filter: (\d+)", plan)])
        thousands: list[None] = []
        connection.connection.set_progress_handler(lambda: thousands.append(None), 1000)
        try:
            cursor.execute(sql, [])
            cursor.fetchall()
        finally:
            connection.connection.set_progress_handler(None, 0)
        return len(thousands) * 1000 // 5
