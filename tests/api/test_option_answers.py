"""What a task object and a list say of the options of a task."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from tasks_app.api import pages
from tasks_app.api.pages import OPTIONAL_FIELDS, TASK_OBJECT_FIELDS
from tasks_app.queue.models import Task
from tasks_app.queue.submit import submit

pytestmark = [pytest.mark.database, pytest.mark.django_db]

COLUMNS: dict[str, Any] = {
    "expires_at": datetime(2030, 1, 31, 9, tzinfo=UTC), "requested_timeout": 2.5, "requested_max_retries": 0,
    "tags": ["b", "a"], "metadata": {"for": ["ü", 1, None]}, "unique_key": 'ü"', "callback_url": "https://example.org/",
    "limit_key": "ü", "schedule": "nightly", "scheduled_for": datetime(2026, 1, 31, 2, tzinfo=UTC),
}  # fmt: skip
SHOWN = {
    "expires_at": "2030-01-31T09:00:00.000000Z", "timeout": 2.5, "max_retries": 0, "tags": ["b", "a"],
    "metadata": {"for": ["ü", 1, None]}, "unique_key": 'ü"', "callback_url": "https://example.org/",
    "limit_key": "ü", "schedule": "nightly", "scheduled_for": "2026-01-31T02:00:00.000000Z",
}  # fmt: skip


def stored(**columns: Any) -> UUID:
    task = submit("echo")
    Task.objects.filter(pk=task).update(**columns)
    return task


def test_a_task_without_options_shows_none(api: Client) -> None:
    assert tuple(api.get(f"/api/tasks/{stored()}").json()) == TASK_OBJECT_FIELDS


def test_a_task_shows_the_options_that_it_has(api: Client) -> None:
    task = api.get(f"/api/tasks/{stored(**COLUMNS)}").json()
    assert tuple(task) == (*TASK_OBJECT_FIELDS, *OPTIONAL_FIELDS)
    assert {name: task[name] for name in OPTIONAL_FIELDS} == SHOWN
    some = api.get(f"/api/tasks/{stored(metadata={}, requested_timeout=1)}").json()
    assert {name: some[name] for name in OPTIONAL_FIELDS if name in some} == {"metadata": {}, "timeout": 1.0}


def test_a_running_attempts_own_timeout_is_no_option(api: Client) -> None:
    assert "timeout" not in api.get(f"/api/tasks/{stored(timeout=30.0, max_retries=3)}").json()


def test_fields_that_are_asked_for_are_always_there(api: Client) -> None:
    stored(), stored(**COLUMNS)
    with_options, without = api.get(f"/api/tasks?fields={','.join(OPTIONAL_FIELDS)}").json()
    assert with_options == SHOWN
    assert without == dict.fromkeys(OPTIONAL_FIELDS)
    assert api.get("/api/tasks?fields=tags").json() == [{"tags": ["b", "a"]}, {"tags": None}]


def test_a_page_ends_before_its_metadata_is_too_large(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 10_000)
    for _ in range(5):
        stored(metadata={"a": "x" * 4000})
    assert len(api.get("/api/tasks").json()) == 2
    assert len(api.get("/api/tasks?fields=metadata").json()) == 2
    assert len(api.get("/api/tasks?fields=id,tags").json()) == 5


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("tag=", 'tag must be 1 to 64 of the characters A-Z a-z 0-9 _ . : / = @ -, not ""'),
        ("tag=a,b", 'not "a,b"'),
        ("tag=a&tag=%22", 'not "\\""'),
        ("tag=" + "x" * 65, "tag must be 1 to 64"),
        ("&".join(["tag=a"] * 11), "tag may be given 10 times, not 11"),
        ("tags=a", 'unknown parameter "tags"; the parameters are'),
    ],
)
def test_a_wrong_tag_is_refused(api: Client, query: str, said: str) -> None:
    answer = api.get(f"/api/tasks?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_tags_are_all_wanted_and_the_next_page_has_the_same(api: Client) -> None:
    wanted = [str(stored(tags=["a", "b:1", "c"])) for _ in range(3)]
    stored(tags=["a"]), stored(tags=["ab:1"]), stored()
    answer = api.get("/api/tasks?tag=b:1&tag=a&tag=a&limit=2")
    assert [task["id"] for task in answer.json()] == wanted[:0:-1]
    assert "?tag=b%3A1&tag=a&tag=a&limit=2&cursor=" in answer.headers["Link"]
    rest = api.get(answer.headers["Link"].partition(">")[0][1:])
    assert [task["id"] for task in rest.json()] == wanted[:1]
