"""POST /api/tasks/{id}/cancel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client

from tasks_app import audit
from tasks_app.queue.cancel import cancel
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from testkit.clients import post
from tests.queue.moves.kit import SLOW_RETRY, failure, row, running, submitted, success, together, total

pytestmark = [pytest.mark.database, pytest.mark.django_db]

UNKNOWN_ID = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


def pending() -> UUID:
    return submitted(50)[0]


def waiting_for_its_retry() -> UUID:
    task = running(SLOW_RETRY)
    settle("node", [failure(task)])
    return row(task).pk


def processing() -> UUID:
    return row(running()).pk


@pytest.mark.parametrize("make", [pending, waiting_for_its_retry, processing])
def test_a_task_that_has_not_ended_fails_as_cancelled(api: Client, make: Callable[[], UUID]) -> None:
    task = make()
    answer = api.post(f"/api/tasks/{task}/cancel")
    assert answer.status_code == 200
    assert answer.json() == api.get(f"/api/tasks/{task}").json()
    said = answer.json()
    assert (said["status"], said["failure_reason"], said["last_error"]) == ("failed", "cancelled", "cancelled")
    assert (said["due_at"], said["result"]) == (None, None)
    assert said["completed_at"] is not None


def test_a_task_that_has_ended_is_409_and_stays_as_it_is(api: Client) -> None:
    done = running()
    settle("node", [success(done)])
    gone = pending()
    cancel(gone)
    for task, status in ((row(done).pk, "completed"), (gone, "failed")):
        before = Task.objects.filter(pk=task).values().get()
        answer = api.post(f"/api/tasks/{task}/cancel")
        assert (answer.status_code, answer.json()) == (
            409,
            {"error": f"Task is already {status}; only a pending or processing task can be cancelled"},
        )
        assert Task.objects.filter(pk=task).values().get() == before


def test_an_unknown_task_is_404(api: Client) -> None:
    answer = api.post(f"/api/tasks/{UNKNOWN_ID}/cancel")
    assert (answer.status_code, answer.json()) == (404, {"error": "Task not found"})


def test_a_cancelled_task_can_be_redriven(api: Client) -> None:
    task = processing()
    api.post(f"/api/tasks/{task}/cancel")
    assert post(api, f"/api/tasks/{task}/redrive").json()["status"] == "pending"


@pytest.mark.django_db(transaction=True)
def test_of_four_cancels_at_once_one_is_200_and_the_others_are_409(api: Client) -> None:
    for make in (pending, processing) * 5:
        task = make()
        answers = together(*[partial(api.post, f"/api/tasks/{task}/cancel")] * 4)
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert total("failed", "echo", "cancelled") == 10


@pytest.mark.django_db(transaction=True)
def test_of_a_cancel_and_a_settle_at_once_exactly_one_wins(api: Client) -> None:
    for _ in range(20):
        task = running()
        identity = row(task).pk
        settled, answer = together(
            partial(settle, "node", [success(task)]), partial(api.post, f"/api/tasks/{identity}/cancel")
        )
        assert (bool(settled), answer.status_code) in ((True, 409), (False, 200))
        assert row(task).status == ("completed" if settled else "failed")
    assert total("completed") + total("failed", "echo", "cancelled") == 20


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
@pytest.mark.django_db(transaction=True)
def test_no_other_request_changes_a_task_while_its_cancel_looks_for_the_answer(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = pending()

    def lock() -> str:
        with transaction.atomic():
            try:
                Task.objects.select_for_update(nowait=True).get(pk=task)
            except OperationalError:
                return "refused"
            return "locked"

    def look_first(identity: UUID, why: str) -> bool:
        assert together(lock) == ["refused"]
        return cancel(identity, why)

    monkeypatch.setattr(audit, "cancel", look_first)
    assert api.post(f"/api/tasks/{task}/cancel").status_code == 200
