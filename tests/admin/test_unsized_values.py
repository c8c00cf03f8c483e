"""Values whose sizes are not known, because an earlier version has stored them, and that are too large to be read."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.test import Client

from tasks_app.queue.models import Task
from tests.admin.rows import task

pytestmark = [pytest.mark.database, pytest.mark.django_db]
LIST = "/admin/tasks_app/task/"


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite stores numbers as they are written, and knows the size of each text")


def with_large(column: str, one: Task) -> Task:
    """The task with a value that is 93 MB as text."""
    with connection.cursor() as cursor:
        value = "[" + ",".join(["1e308"] * 300_000) + "]"
        cursor.execute(f"UPDATE taskdaemon_task SET {column} = %s::jsonb WHERE id = %s", [value, one.pk])
    return one


def test_a_result_that_is_too_large_is_left_out_of_the_page_the_json_and_the_export(admin: Client) -> None:
    first = task("completed", result=1)
    one = with_large("result", task("completed", task_data={"n": 1}))
    last = task("completed", result=3)
    page = admin.get(f"{LIST}{one.pk}/change/").text
    assert "not shown: it has more than 67,108,864 bytes as text" in page and "&quot;n&quot;: 1" in page
    whole = admin.get(f"{LIST}{one.pk}/json/").json()
    assert (whole["omitted"], whole["task_data"], "result" in whole) == (["result"], {"n": 1}, False)
    answer = admin.get(f"{LIST}export/?_format=jsonl&_payloads=yes")
    rows = [json.loads(line) for line in b"".join(answer).splitlines()]
    assert [(row["id"], row["result"]) for row in rows] == [(str(last.pk), 3), (str(one.pk), None), (str(first.pk), 1)]


def test_data_that_is_too_large_is_not_edited(admin: Client) -> None:
    one = with_large("task_data", task("failed"))
    assert "The data is too large to be read and edited here" in admin.get(f"{LIST}{one.pk}/edit/", follow=True).text
