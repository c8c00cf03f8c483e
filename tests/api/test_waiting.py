"""Waits for a task, without a web server: what a request asks for, and what is answered when its wait is over."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory
from rest_framework.request import Request

from tasks_app.api import pages, waiting
from tasks_app.api.errors import Invalid
from tasks_app.api.fields import Asks
from tasks_app.api.pages import BUDGET_BYTES, response_budget
from tasks_app.api.view import API
from tasks_app.api.waiting import VARIABLE, AnyWait, Deferred, Places, Wait, answers
from tasks_app.queue.models import Task
from tasks_app.queue.submit import submit
from tests.queue.moves.kit import submitted

TASK = b'{"type": "echo"}'


def wanted(query: str = "", prefer: str | None = None) -> int | None:
    headers = {} if prefer is None else {"prefer": prefer}
    request, view = Request(RequestFactory().get(f"/api/tasks/x?{query}", headers=headers)), API()
    view.asked = Asks(waiting.WAIT, None).read(request)
    return waiting.wanted(view, request)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=10", 10), ("wait=0", 0), ("wait=60", 60), ("wait=61", 60), ("wait=" + "9" * 5000, 60), ("WAIT = 7", 7),
        ('wait="7"', 7), ("wait=007", 7), ("wait=7;foo=bar", 7), ("respond-async, wait=7", 7), ("wait=7, wait=9", 7),
        ('handling="a, wait=9", wait=7', 7), ("wait=1, respond-async", 1),
        ("", None), ("wait", None), ("wait=", None), ("wait=-1", None), ("wait=1.5", None), ("wait=abc", None),
        ("wait=abc, wait=5", None), ('wait="7', None), ("wait=٣", None), ("await=7", None), ("wait=1 2", None),
        ('foo="wait=7"', None), ("foo; wait=7", None),
    ],
)  # fmt: skip
def test_a_preference_is_read_as_rfc_7240_says(header: str, seconds: int | None) -> None:
    assert wanted(prefer=header) == seconds


@pytest.mark.parametrize("text", ["61", "-1", "", "1.5", "abc", "1e1", " 5", "%D9%A3", "999999999", "true"])
def test_a_parameter_out_of_range_is_invalid(text: str) -> None:
    with pytest.raises(Invalid, match="wait must be a whole number of seconds from 0 to 60"):
        wanted(f"wait={text}")


def test_the_parameter_counts_more_than_the_header_and_may_be_given_once() -> None:
    assert wanted("wait=5", prefer="wait=10") == 5
    assert (wanted("wait=0"), wanted("wait=60"), wanted("wait=05"), wanted()) == (0, 60, 5, None)
    with pytest.raises(Invalid, match="twice"):
        wanted("wait=5&wait=5")


@pytest.fixture
def holding(api: Client) -> tuple[Client, Deferred]:
    """A client whose one request may wait, in the only place."""
    deferred = Deferred(Places(1), Places(1))
    api.defaults[VARIABLE] = deferred  # type: ignore[assignment]
    return api, deferred


def test_a_post_reserves_its_place_and_waits_for_the_task_that_it_stored(holding: tuple[Client, Deferred]) -> None:
    api, deferred = holding
    answer = api.post("/queue?wait=5", TASK, "application/json")
    assert deferred.wait == Wait(UUID(answer.json()["task_id"]), 5, True)
    assert answer.headers["Preference-Applied"] == "wait=5"
    assert not deferred._places.take()


def test_without_a_place_nothing_is_stored(holding: tuple[Client, Deferred]) -> None:
    api, deferred = holding
    assert deferred._places.take()
    answer = api.post("/queue?wait=5", TASK, "application/json")
    assert (answer.status_code, answer.headers["Retry-After"], deferred.wait) == (503, "2", None)
    assert not Task.objects.exists()
    assert api.post("/queue?wait=0", TASK, "application/json").status_code == 200
    [task] = Task.objects.all()
    assert api.get(f"/api/tasks/{task.pk}?wait=5").status_code == 503
    assert api.get(f"/api/tasks/{task.pk}?wait=0").json()["status"] == "pending"


def test_a_bad_wait_stores_nothing(api: Client) -> None:
    for path in ("/queue?wait=61", "/queue/?wait=x"):
        assert api.post(path, TASK, "application/json", headers={"prefer": "wait=1"}).status_code == 400
    assert not Task.objects.exists()


def test_a_read_waits_only_for_a_task_that_is_not_final(holding: tuple[Client, Deferred]) -> None:
    api, deferred = holding
    [final, pending] = submitted(50, 50)
    Task.objects.filter(pk=final).update(status="completed", completed_at="2026-01-01T00:00Z", result=1)
    answer = api.get(f"/api/tasks/{final}", headers={"prefer": "wait=100"})
    assert (answer.json()["result"], answer.headers["Preference-Applied"], deferred.wait) == (1, "wait=60", None)
    for path in (f"/api/tasks/{uuid4()}?wait=5", "/api/tasks/x?wait=5"):
        assert (api.get(path).status_code, deferred.wait) == (404, None)
    assert api.get(f"/api/tasks/{pending}?wait=5").status_code == 200
    assert deferred.wait == Wait(pending, 5, False)


def test_other_calls_take_no_wait(holding: tuple[Client, Deferred]) -> None:
    api, deferred = holding
    [one] = submitted(50)
    batch, prefer = b'{"tasks": [%b]}' % TASK, {"prefer": "wait=5"}
    assert api.post("/queue/batch?wait=5", batch, "application/json").status_code == 400
    assert [api.get("/api/tasks?wait=5").status_code, api.delete(f"/api/tasks/{one}?wait=5").status_code] == [400, 400]
    for answer in (
        api.post("/queue/batch", batch, "application/json", headers=prefer),
        api.get("/api/tasks", headers=prefer),
        api.delete(f"/api/tasks/{one}", headers=prefer),
    ):
        assert answer.status_code in (200, 204)
        assert "Preference-Applied" not in answer.headers
    assert deferred.wait is None


def test_a_wait_for_many_tasks_takes_more_places() -> None:
    places = Places(6)
    deferred = Deferred(places, Places(1))
    deferred.reserve(16)
    assert places.take() and not places.take()
    deferred.release()
    with pytest.raises(waiting.NoPlace):
        deferred.reserve(20)
    deferred.reserve(4)


def said(*waits: Wait) -> dict[AnyWait, tuple[int, Any]]:
    return {wait: (answer.status, json.loads(answer.body)) for wait, answer in answers(waits)}


@pytest.mark.django_db
def test_each_wait_is_answered_with_its_task_as_it_is_now(api: Client) -> None:
    tasks = [submit("echo", {"a": "ü"}), submit("echo", {"a": "x" * 100_000}), uuid4()]
    shown = [api.get(f"/api/tasks/{task}").json() for task in tasks]
    waits = [Wait(task, 5, queued) for task in tasks for queued in (True, False)]
    found = said(*waits)
    for task, one in zip(tasks[:2], shown[:2], strict=True):
        assert found[Wait(task, 5, False)] == (200, one)
        assert found[Wait(task, 5, True)] == (200, {"task_id": str(task), "task": one})
        existing = Wait(task, 5, True, existing=True)
        assert said(existing)[existing] == (200, {"task_id": str(task), "existing": True, "task": one})
    assert found[Wait(tasks[2], 5, False)] == (404, {"error": "Task not found"})
    assert found[Wait(tasks[2], 5, True)] == (200, {"task_id": str(tasks[2])})


@pytest.mark.django_db
def test_large_answers_keep_to_the_budget_and_small_ones_are_always_given() -> None:
    small, large = submit("echo"), submit("echo", {"a": "x" * 100_000})
    reserved = response_budget.reserve(BUDGET_BYTES)
    try:
        found = said(Wait(small, 5, False), Wait(large, 5, False), Wait(large, 5, True))
    finally:
        reserved.close()
    assert found[Wait(small, 5, False)][0] == 200
    assert found[Wait(large, 5, False)] == (503, {"error": "too many large answers at once; try again"})
    assert found[Wait(large, 5, True)] == (200, {"task_id": str(large)})
    before = response_budget._reserved
    for _, answer in answers([Wait(large, 5, False)]):
        assert answer.status == 200 and response_budget._reserved > before
    assert response_budget._reserved == before


def test_without_the_database_a_post_is_200_without_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(ids: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(pages, "sizes", away)
    task = uuid4()
    found = said(Wait(task, 5, True), Wait(task, 5, False))
    assert found[Wait(task, 5, True)] == (200, {"task_id": str(task)})
    status, body = found[Wait(task, 5, False)]
    assert (status, list(body)) == (503, ["error"])


def test_one_key_cannot_take_all_places() -> None:
    places = Places(8)
    assert [places.take(1) for _ in range(5)] == [True] * 4 + [False]
    assert [places.take(2) for _ in range(3)] == [True] * 2 + [False]
    assert places.take(3)
    places.release(1)
    places.release(1)
    assert [places.take(3) for _ in range(2)] == [True, False], "of three free ones a key that has one gets one"
    assert [places.take() for _ in range(3)] == [True, True, False], "without keys all may be taken"
