"""Lists of large results: limited per page and over all clients, and freed once they are answered."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import OperationalError, close_old_connections
from django.test import Client, RequestFactory
from django.utils import timezone

from tasks_app.api import tasks
from tasks_app.api.pages import BUDGET_BYTES, MAX_PAGE_BYTES, ResponseBudget, response_budget
from tasks_app.queue.models import Task
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from tasks_app.runner.wire import encode, stored_size

pytestmark = [pytest.mark.database, pytest.mark.django_db]

MIB = 1024 * 1024


def completed(count: int, result: object) -> list[str]:
    """Completed tasks with that result. Returns their ids, newest first."""
    ids = submit_many([NewTask("echo", {"n": n}) for n in range(count)])
    now, size = timezone.now(), stored_size(encode(result))
    Task.objects.filter(pk__in=ids).update(
        status="completed", attempts=1, result=result, result_size=size, started_at=now, completed_at=now
    )
    return [str(each) for each in reversed(ids)]


@pytest.fixture
def collector_off() -> Iterator[None]:
    """Disables the garbage collector, and keeps requests from closing the test's database connection."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_pages_of_large_results_are_cut_short_and_lead_to_all_of_them(api: Client) -> None:
    ids = completed(5, "x" * 10 * MIB)
    found, path = [], "/api/tasks?limit=20"
    while path:
        answer = api.get(path)
        assert answer.status_code == 200
        assert len(answer.content) < MAX_PAGE_BYTES + 64 * 1024
        found += [task["id"] for task in answer.json()]
        link = re.fullmatch('<(/.*)>; rel="next"', answer.headers.get("Link", ""))
        path = link.group(1) if link else ""
    assert found == ids


def test_large_tasks_behind_many_small_ones_are_not_read_with_them(api: Client) -> None:
    large = completed(3, "x" * 9 * MIB)
    small = completed(60, 1)
    first = api.get("/api/tasks?limit=1000")
    assert [task["id"] for task in first.json()] == [*small, large[0]]
    assert "Link" in first.headers


def test_rows_that_do_not_fit_into_the_page_are_not_read(api: Client) -> None:
    completed(12, "x" * 6 * MIB)
    tracemalloc.start()
    try:
        answer = api.get("/api/tasks?limit=20")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(answer.json()) == 2
    assert peak < 8 * MAX_PAGE_BYTES


def test_an_answers_bytes_are_freed_without_the_collector(db: None, collector_off: None) -> None:
    (identity,) = completed(1, [1] * 5 * MIB)
    # Without the test client, whose answers are reference cycles themselves.
    application = WSGIHandler()

    def ask(path: str) -> int:
        environ = RequestFactory(SERVER_NAME="localhost")._base_environ(PATH_INFO=path)  # type: ignore[attr-defined]
        response = application(environ, lambda status, headers, error=None: lambda part: None)
        size = len(b"".join(response))
        response.close()
        return size

    for path in ("/api/tasks", f"/api/tasks/{identity}"):
        ask(path)
        tracemalloc.start()
        try:
            size = ask(path)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size > 10 * MIB
        assert kept < MIB


def test_large_answers_over_all_clients_are_bounded_and_small_ones_are_not(api: Client) -> None:
    small = completed(1, {"a": 1})[0]
    large = completed(1, "x" * MIB)[0]
    others = response_budget.reserve(BUDGET_BYTES - MIB // 2)
    try:
        for path in ("/api/tasks", f"/api/tasks/{large}"):
            refused = api.get(path)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
            assert refused.json() == {"error": "too many large answers at once; try again"}
        assert api.get(f"/api/tasks/{small}").status_code == 200
    finally:
        others.close()
    for _ in range(70):  # each returns its bytes to the budget
        assert api.get(f"/api/tasks/{large}").status_code == 200
    assert response_budget._reserved == 0


def test_an_answer_larger_than_the_budget_is_given_if_it_is_the_only_one() -> None:
    budget = ResponseBudget()
    reservation = budget.reserve(BUDGET_BYTES + 1)
    reservation.close()
    reservation.close()
    budget.reserve(BUDGET_BYTES).close()


def test_an_answer_that_is_dropped_because_its_commit_failed_gives_back_its_bytes(
    api: Client, monkeypatch: pytest.MonkeyPatch, collector_off: None
) -> None:
    budget = ResponseBudget()  # other tests' answers have no part in it
    monkeypatch.setattr(tasks, "response_budget", budget)

    @contextmanager
    def lost(*args: Any, **changes: Any) -> Iterator[None]:
        yield
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(tasks, "act_on_task", lost)
    task = api.post("/queue", b'{"type": "echo"}', content_type="application/json").json()["task_id"]
    answer = api.post(f"/api/tasks/{task}/priority", b'{"priority": 9}', content_type="application/json")
    assert answer.status_code == 503
    assert budget._reserved == 0, "without the collector, which another thread may be in"


def test_a_task_is_the_same_alone_and_in_a_list_and_a_false_result_stays_what_it_is(api: Client) -> None:
    results: list[object] = [
        None,
        0,
        "",
        [],
        False,
        {"a": [1.5, "\u00fc", None, 12345678901234567890]},
        '\U0001f600 "\\ \n',
    ]
    ids = {completed(1, result)[0]: result for result in results}
    for task in api.get("/api/tasks").json():
        assert task["result"] == ids[task["id"]]
        assert type(task["result"]) is type(ids[task["id"]])
        assert api.get(f"/api/tasks/{task['id']}").json() == task
        assert list(task)[:4] == ["id", "task_type", "task_data", "status"]
