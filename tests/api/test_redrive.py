"""POST /api/tasks/{id}/redrive, also with other data or another priority, and POST /api/tasks/{id}/priority."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from tasks_app import conf
from tasks_app.audit import AuditEntry
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from testkit.clients import post
from tests.admin.rows import task
from tests.queue.moves.kit import failure, row, submitted, take

pytestmark = [pytest.mark.database, pytest.mark.django_db]


@pytest.mark.django_db(transaction=True)
def test_the_answer_says_pending_however_fast_a_node_is(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(50)
    [task] = take()
    settle("node", [failure(task, retryable=False)])

    def begin(*_: object) -> None:
        take()

    monkeypatch.setattr("tasks_app.broker.notification.notify", begin)  # called after the commit
    answer = post(api, f"/api/tasks/{task.id}/redrive")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert row(task).status == "processing"


@pytest.mark.parametrize(
    ("body", "data", "priority", "action"),
    [
        (b"", {"n": 1}, 50, "redrive"), ({}, {"n": 1}, 50, "redrive"), ("null", {"n": 1}, 50, "redrive"),
        ({"data": None, "priority": None}, {"n": 1}, 50, "redrive"),
        ({"data": {"n": 2}}, {"n": 2}, 50, "edit"), ({"data": {}}, {}, 50, "edit"),
        ({"priority": 0}, {"n": 1}, 0, "edit"), ({"data": {"n": True}, "priority": 90}, {"n": True}, 90, "edit"),
    ],
)  # fmt: skip
def test_a_redrive_changes_what_it_names_and_nothing_else(
    api: Client, body: Any, data: Any, priority: int, action: str
) -> None:
    one = task("failed", task_data={"n": 1}, retries=2, attempts=3, tags=["a"])
    answer = post(api, f"/api/tasks/{one.pk}/redrive", body)
    assert answer.status_code == 200
    said = answer.json()
    assert (said["status"], said["priority"], said["attempts"], said["tags"]) == ("pending", priority, 3, ["a"])
    now = Task.objects.get(pk=one.pk)
    assert json.dumps(said["task_data"]) == json.dumps(now.task_data) == json.dumps(data)
    assert (now.retries, now.failure_reason, now.completed_at) == (0, None, None)
    line = AuditEntry.objects.get()
    assert (line.action, line.target) == (action, str(one.pk))
    assert line.details.get("priority") == (None if priority == 50 else [50, priority])
    assert ("data" in line.details) == (json.dumps(data) != '{"n": 1}')


def test_every_fault_of_a_redrive_is_told_at_once_and_nothing_changes(api: Client) -> None:
    one = task("failed", task_data={"n": 1})
    answer = post(api, f"/api/tasks/{one.pk}/redrive", {"dta": {}, "data": [1], "priority": 101})
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["details"]] == ["dta", "data", "priority"]
    assert 'did you mean "data"?' in answer.json()["error"]
    for body, status, said in (
        ([1], 400, "the body must be a JSON object such as"),
        ("{", 400, "malformed JSON"),
        ({"data": json.loads('{"a":' * 70 + "1" + "}" * 70)}, 400, "nested"),
        ('{"data": {"a": "\\u0000"}}', 400, "NUL"),
        ('{"data": {"a": [' + ",".join(["1e308"] * 4000) + "]}}", 413, "all its digits"),
    ):
        answer = post(api, f"/api/tasks/{one.pk}/redrive", body)
        assert answer.status_code == status and said in answer.json()["error"]
    now = Task.objects.get(pk=one.pk)
    assert (now.status, now.task_data) == ("failed", {"n": 1}) and not AuditEntry.objects.exists()


@pytest.mark.parametrize("status", ["pending", "processing", "completed"])
def test_a_task_that_has_not_failed_is_404_and_the_sentence_names_its_status(api: Client, status: str) -> None:
    one = task(status)
    answer = post(api, f"/api/tasks/{one.pk}/redrive", {"data": {"a": 1}})
    assert (answer.status_code, answer.json()) == (
        404, {"error": f"Task is {status}; only a failed task can be redriven"}
    )  # fmt: skip
    assert Task.objects.get(pk=one.pk).task_data == {} and not AuditEntry.objects.exists()
    assert post(api, f"/api/tasks/{uuid4()}/redrive").json() == {"error": "Task not found"}


def test_a_living_twin_is_409_and_neither_data_nor_priority_change(api: Client) -> None:
    one, twin = task("failed", unique_key="k"), task(unique_key="k")
    answer = post(api, f"/api/tasks/{one.pk}/redrive", {"data": {"a": 1}, "priority": 9})
    assert answer.status_code == 409 and str(twin.pk) in answer.json()["error"]
    now = Task.objects.get(pk=one.pk)
    assert (now.status, now.task_data, now.priority) == ("failed", {}, 50) and not AuditEntry.objects.exists()


def test_a_pending_tasks_priority_is_changed_and_it_goes_to_the_back_of_its_level(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_priority = conf.environment().model_copy(update={"task_selection": "priority"})
    monkeypatch.setattr(conf, "environment", lambda: by_priority)
    low, equal, high = submitted(50, 70, 90)
    answer = post(api, f"/api/tasks/{low}/priority", {"priority": 70})
    assert (answer.status_code, answer.json()["priority"], answer.json()["status"]) == (200, 70, "pending")
    assert [one.id for one in take(9, order="priority")] == [str(high), str(equal), str(low)]
    line = AuditEntry.objects.get()
    assert (line.action, line.target, line.details) == ("priority", str(low), {"type": "echo", "priority": [50, 70]})


def test_what_is_no_priority_of_a_pending_task_is_refused(api: Client) -> None:
    one = task()
    for body, said in (
        ({}, "priority is missing"),
        ({"priority": None}, "priority must be an integer from 0 to 100, not null"),
        ({"priority": True}, "priority must be an integer from 0 to 100, not true"),
        ({"priority": 5, "data": {}}, 'unknown field "data"; the fields are priority'),
        (b"", "the body is empty"),
    ):
        answer = post(api, f"/api/tasks/{one.pk}/priority", body)
        assert answer.status_code == 400 and said in answer.json()["error"]
    for status in ("processing", "completed", "failed"):
        answer = post(api, f"/api/tasks/{task(status).pk}/priority", {"priority": 9})
        assert answer.status_code == 409
        assert answer.json()["error"] == f"Task is {status}; only the priority of a pending task can be changed"
    assert post(api, f"/api/tasks/{uuid4()}/priority", {"priority": 9}).status_code == 404
    assert not Task.objects.exclude(priority=50).exists() and not AuditEntry.objects.exists()
