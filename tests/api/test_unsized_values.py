"""Values whose sizes are not known, as a version without columns for sizes has stored them.

Lists and tasks are answered all the same, and what no answer can have is left out.
"""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from tasks_app.api import waiting
from tasks_app.api.waiting import Wait
from tasks_app.queue.models import Task
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from tests.queue.store.kit import too_slow_for

pytestmark = [pytest.mark.database, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite stores numbers as they are written, and knows the size of each text")


def numbers(count: int) -> str:
    """The text of an array that PostgreSQL stores in few bytes and returns as `count` times 309 digits."""
    return "[" + ",".join(["1e308"] * count) + "]"


def old(*results: str) -> list[str]:
    """Completed tasks with these results as JSON text, and without sizes. Returns their ids, newest first."""
    ids = submit_many([NewTask("echo", {"n": n}) for n in range(len(results))])
    Task.objects.filter(pk__in=ids).update(
        status="completed", attempts=1, started_at=timezone.now(), completed_at=timezone.now(), task_data_size=None
    )
    with connection.cursor() as cursor:
        for identity, result in zip(ids, results, strict=True):
            cursor.execute("UPDATE taskdaemon_task SET result = %s::jsonb WHERE id = %s", [result, identity])
    return [str(each) for each in reversed(ids)]


def pages(api: Client, path: str) -> list[list[dict[str, Any]]]:
    found = []
    while path:
        answer = api.get(path)
        assert answer.status_code == 200, answer.content[:300]
        found.append(answer.json())
        link = re.fullmatch('<(/.*)>; rel="next"', answer.headers.get("Link", ""))
        path = link.group(1) if link else ""
    return found


def test_a_value_of_unknown_size_is_alone_on_its_page_and_small_ones_are_not(api: Client) -> None:
    ids = old("1", "[2]", numbers(20_000), '"3"', '{"a":4}')
    found = pages(api, "/api/tasks?limit=20")
    assert [[task["id"] for task in page] for page in found] == [ids[:2], [ids[2]], ids[3:]]
    assert found[1][0]["result"] == [10**308] * 20_000
    assert "omitted" not in found[1][0]


def test_without_the_field_of_the_large_value_it_is_a_row_like_others(api: Client) -> None:
    ids = old("1", numbers(20_000), "2")
    assert [[task["id"] for task in page] for page in pages(api, "/api/tasks?fields=id,status")] == [ids]


def test_a_value_too_large_for_any_answer_is_left_out_and_named(api: Client) -> None:
    ids = old("1", numbers(300_000), "2")  # 93 MB as text
    found = pages(api, "/api/tasks")
    assert [[task["id"] for task in page] for page in found] == [[ids[0]], [ids[1]], [ids[2]]]
    [large] = found[1]
    assert large == api.get(f"/api/tasks/{ids[1]}").json()
    assert (large["omitted"], large["task_data"], "result" in large) == (["result"], {"n": 1}, False)


def test_a_value_that_the_server_refuses_to_make_a_text_of_is_left_out_too(api: Client) -> None:
    [identity] = old(numbers(600_000))
    with too_slow_for("result"):
        answer = api.get(f"/api/tasks/{identity}")
    assert (answer.status_code, answer.json()["omitted"]) == (200, ["result"])


def test_who_waits_for_such_a_task_gets_it(api: Client) -> None:
    first, second = old(numbers(300_000), numbers(20_000))
    found = dict(waiting.answers([Wait(UUID(each), 1, False) for each in (first, second)]))
    by_id = {json.loads(answer.body)["id"]: json.loads(answer.body) for answer in found.values()}
    assert by_id[first]["result"][0] == 10**308
    assert by_id[second]["omitted"] == ["result"]
