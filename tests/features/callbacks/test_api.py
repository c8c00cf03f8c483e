"""What was told of a task is listed, and sent anew, of one task or of all that match."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client

from tasks_app.audit import AuditEntry
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.telling import tell_ended
from tasks_app.features.operations.models import Operation
from tasks_app.features.operations.work import step
from tasks_app.keys.api_keys import Grant, Scope, create
from tasks_app.queue.cancel import delete
from tasks_app.queue.models import Task
from testkit.clients import post
from tests.features.callbacks.kit import URL, ended, followed

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def told_of(count: int = 1, **how: Any) -> list[Any]:
    tasks = ended(count, **how)
    tell_ended()
    return tasks


def fail(**of: Any) -> None:
    """As what sends leaves them."""
    Delivery.objects.filter(**of).update(
        status=State.FAILED, next_at=None, ended_at=Now(), tries=8, last_status=500, last_error="it answered 500",
        last_try_at=Now(),
    )  # fmt: skip


def bearer(*scopes: Scope, types: list[str] | None = None) -> dict[str, str]:
    key = create(f"key {uuid4()}", Grant(scopes or None, types))
    return {"Authorization": f"Bearer {key}"}


def test_what_was_told_of_a_task_is_listed_newest_first_and_outlives_it(api: Client) -> None:
    [task] = told_of(fails=True)
    fail()
    assert post(api, f"/api/tasks/{task}/redrive").status_code == 200
    Task.objects.filter(pk=task).update(status="completed", completed_at=Now())
    tell_ended()
    newest, oldest = listed = api.get(f"/api/tasks/{task}/callbacks").json()
    assert (newest["event"], newest["status"], newest["tries"], newest["url"]) == ("task.completed", "pending", 0, URL)
    assert newest["next_at"] == newest["created_at"] and newest["ended_at"] is newest["last_status"] is None
    assert (oldest["event"], oldest["status"], oldest["last_status"], oldest["next_at"]) == (
        "task.failed", "failed", 500, None
    )  # fmt: skip
    assert "body" not in newest
    delete(task)
    assert api.get(f"/api/tasks/{task}/callbacks").json() == listed
    first = api.get(f"/api/tasks/{task}/callbacks?limit=1")
    assert first.json() == [newest]
    assert api.get(first.headers["Link"].split(">")[0][1:]).json() == [oldest]


def test_a_task_that_is_not_told_of_has_an_empty_list_and_an_unknown_one_is_404(api: Client) -> None:
    [task] = followed()
    assert api.get(f"/api/tasks/{task}/callbacks").json() == []
    refused = post(api, f"/api/tasks/{task}/callbacks/retry")
    assert (refused.status_code, refused.json()["error"]) == (409, f"task {task} has no callbacks")
    for path in (f"/api/tasks/{uuid4()}/callbacks", "/api/tasks/x/callbacks"):
        assert api.get(path).status_code == post(api, f"{path}/retry").status_code == 404


def test_a_failed_callback_is_sent_anew_with_its_id(api: Client) -> None:
    [task] = told_of()
    before = Delivery.objects.get()
    fail()
    key = {"Idempotency-Key": "again"}
    answer = post(api, f"/api/tasks/{task}/callbacks/retry", **key)
    [said] = answer.json()
    assert (answer.status_code, said["id"], said["status"], said["tries"]) == (200, str(before.pk), "pending", 0)
    row = Delivery.objects.get()
    assert row.body == before.body and row.next_at is not None and row.ended_at is None
    assert list(AuditEntry.objects.values_list("action", "target", "count")) == [("retry_callbacks", str(task), 1)]
    fail()
    again = post(api, f"/api/tasks/{task}/callbacks/retry", **key)
    assert again.headers["Idempotent-Replayed"] == "true" and again.json()[0]["status"] == "failed"


def test_a_key_sees_the_callbacks_of_its_types_alone(api: Client) -> None:
    [task] = told_of()
    others, own = bearer(types=["prime"]), bearer(types=["echo"])
    for gone in (False, True):
        if gone:
            delete(task)
        assert api.get(f"/api/tasks/{task}/callbacks", headers=others).status_code == 404
        assert post(api, f"/api/tasks/{task}/callbacks/retry", **others).status_code == 404
        assert len(api.get(f"/api/tasks/{task}/callbacks", headers=own).json()) == 1


def test_to_see_them_is_to_read_tasks_and_to_send_them_anew_is_to_change_one(api: Client) -> None:
    [task] = told_of()
    path = f"/api/tasks/{task}/callbacks"
    reads, writes = bearer(Scope.TASKS_READ), bearer(Scope.TASKS_WRITE)
    assert api.get(path, headers=writes).status_code == post(api, f"{path}/retry", **reads).status_code == 403
    [said] = post(api, f"{path}/retry", **writes).json()
    assert said["url"] is None
    assert post(api, "/api/callbacks/retry", {"filter": {"type": "echo"}}, **writes).status_code == 403


def test_failed_callbacks_of_all_tasks_that_match_are_sent_anew_by_an_operation(api: Client) -> None:
    failed, delivered = told_of(2), told_of(1)
    fail(task__in=failed)
    Delivery.objects.filter(task__in=delivered).update(status=State.DELIVERED, next_at=None, ended_at=Now())
    followed()
    asked = {"filter": {"type": "echo"}}
    counted = post(api, "/api/callbacks/retry", {**asked, "dry_run": True})
    assert counted.status_code == 200 and counted.json()["matched"] == 3
    started = post(api, "/api/callbacks/retry", asked)
    assert started.status_code == 202
    while step(started.json()["operation_id"], "node") is not None:
        pass
    operation = api.get(started.headers["Location"]).json()
    assert (operation["verb"], operation["state"], operation["done"]) == ("callbacks", "completed", 2)
    assert operation["skipped"] == {"no_failed_callback": 1}
    assert operation["sentence"] == "2 told of again, 1 skipped: no failed callback."
    assert set(Delivery.objects.filter(status=State.PENDING).values_list("task", flat=True)) == set(failed)
    assert list(AuditEntry.objects.values_list("action", "count")) == [("callbacks", 2)]


def test_the_admin_shows_an_operation_on_callbacks(admin: Client, api: Client) -> None:
    told_of()
    fail()
    identity = post(api, "/api/callbacks/retry", {"filter": {"type": "echo"}}).json()["operation_id"]
    for path in (f"/admin/tasks_app/operation/{identity}/change/", "/admin/tasks_app/operation/"):
        page = admin.get(path, follow=True)
        assert page.status_code == 200 and "sending callbacks again" in page.text.lower()


def test_the_admin_and_the_api_start_the_same_operation(admin: Client, api: Client) -> None:
    first, second = told_of(2)
    fail()
    chosen = {"action": "callbacks_selected", "_selected_action": [str(first)], "select_across": "0"}
    page = admin.post("/admin/tasks_app/task/", chosen, follow=True)
    assert "Sending callbacks again: are you sure?" in page.text
    assert "Send the failed callbacks of all tasks" in page.text
    sent = {"chosen": page.context["chosen"], "rate": "", "limit": ""}
    assert "1 told of again" in admin.post("/admin/tasks_app/operation/start/", sent, follow=True).text
    counted = post(api, "/api/callbacks/retry", {"filter": {"type": "echo"}, "dry_run": True})
    assert (counted.status_code, counted.json()["matched"]) == (200, 2)
    assert post(api, "/api/callbacks/retry", {"filter": {"ids": [str(second)]}}).status_code == 202
    operation = Operation.objects.latest("created_at")
    while step(operation.pk, "node") is not None:
        pass
    assert set(Operation.objects.values_list("verb", "done", "created_via")) == {
        ("callbacks", 1, "admin"), ("callbacks", 1, "api")
    }  # fmt: skip
    assert not Delivery.objects.exclude(status=State.PENDING).exists()


def test_an_operation_on_callbacks_needs_a_filter_and_has_no_canary(api: Client) -> None:
    bodies: list[Any] = [{}, {"filter": {}}, {"filter": {"type": "echo"}, "canary": 1}]
    for body in bodies:
        assert post(api, "/api/callbacks/retry", body).status_code == 400, body
    answer = post(api, "/api/callbacks/retry", {"filter": {"status": "pending"}})
    assert answer.status_code == 400
    assert "sending callbacks again acts on tasks that are completed or failed" in answer.json()["error"]
    assert not Operation.objects.exists()


def test_an_operation_of_a_key_with_types_sends_only_theirs(api: Client) -> None:
    told_of(1)
    fail()
    started = post(api, "/api/callbacks/retry", {"filter": {"status": "completed"}}, **bearer(types=["prime"]))
    while step(started.json()["operation_id"], "node") is not None:
        pass
    assert Delivery.objects.get().status == State.FAILED
