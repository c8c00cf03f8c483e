"""The pages stay quick with a hundred thousand finished tasks."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

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
    f"{LIST}?o=3.-6",
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


def about_tasks(client: Client, page: str) -> list[str]:
    """The statements that a page sends about tasks."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(page).status_code == 200
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
