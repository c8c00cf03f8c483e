"""POST /queue/batch: one transaction, all or none, in the order of the list; every fault with its path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app import conf
from tasks_app.api import admission
from tasks_app.api.admission import backlog
from tasks_app.keys.caller import keys
from tasks_app.keys.rate import TokenBucket
from tasks_app.queue.attempt import Selection
from tasks_app.queue.models import Task
from tasks_app.queue.submit import group_commit
from testkit.clients import queued
from tests.queue.moves.kit import close, take

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def post(api: Client, body: Any) -> tuple[int, Any]:
    """The status and the JSON; a refusal stores nothing."""
    status, answer = queued(api, body, "/queue/batch")
    assert status == 200 or not Task.objects.exists()
    return status, answer


def tasks(count: int, **fields: Any) -> dict[str, Any]:
    return {"tasks": [{"type": "echo", "data": {"n": n}, **fields} for n in range(count)]}


def paths(answer: dict[str, Any]) -> list[str]:
    return [each["field"] for each in answer["details"]]


def test_a_thousand_tasks_are_stored_by_one_insert_and_their_ids_come_in_order(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(api, tasks(1))
    monkeypatch.setattr(backlog, "_read_due_at", float("inf"))  # what is read once a second is not of these requests
    monkeypatch.setattr(keys, "_read_at", float("inf"))
    with CaptureQueriesContext(connection) as one:
        post(api, tasks(1))
    with CaptureQueriesContext(connection) as thousand:
        status, answer = post(api, tasks(1000))
    assert status == 200
    assert len(thousand) == len(one)
    rows = {str(pk): data["n"] for pk, data in Task.objects.values_list("pk", "task_data")}
    assert [rows[each] for each in answer["task_ids"]] == list(range(1000))


@pytest.mark.parametrize("selection", ["fifo", "priority"])
def test_within_a_level_they_are_claimed_in_the_order_of_the_list(api: Client, selection: Selection) -> None:
    order = [50, 10, 50, 100, 10, 100, 50]
    _, answer = post(api, {"tasks": [{"type": "echo", "priority": each} for each in order]})
    claimed = [str(each.id) for each in take(len(order), order=selection)]
    expected = range(len(order)) if selection == "fifo" else sorted(range(len(order)), key=lambda n: -order[n])
    assert claimed == [answer["task_ids"][n] for n in expected]


def test_types_may_be_mixed_and_a_task_is_as_it_would_be_alone(api: Client) -> None:
    _, answer = post(api, {"tasks": [{"type": "prime", "data": {"limit": 10}}, {"type": "echo", "priority": 0}]})
    first, second = (api.get(f"/api/tasks/{each}").json() for each in answer["task_ids"])
    assert (first["task_type"], first["task_data"], first["priority"]) == ("prime", {"limit": 10}, 50)
    assert (second["task_type"], second["task_data"], second["priority"]) == ("echo", {}, 0)


@pytest.mark.django_db(transaction=True)
def test_one_notification_per_handler_is_sent_after_the_commit_with_its_highest_priority(
    api: Client, monkeypatch: Any
) -> None:
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr("tasks_app.broker.notification.notify", lambda *notification: sent.append(notification))
    order = [("echo", 3), ("prime", 5), ("echo", 9), ("echo", 1)]
    post(api, {"tasks": [{"type": name, "priority": priority} for name, priority in order]})
    assert sent == [("echo", 9), ("prime", 5)]
    close(group_commit)


# ---- invalid batches -------------------------------------------------------------------------------------------------


def test_every_wrong_task_is_named_by_its_index_and_nothing_is_stored(api: Client) -> None:
    body = tasks(100)
    body["tasks"][7] = {"type": "ecko"}
    body["tasks"][31] = {"type": "echo", "priority": 101, "data": []}
    body["tasks"][99] = 5
    status, answer = post(api, body)
    assert status == 400
    assert paths(answer) == ["tasks[7].type", "tasks[31].data", "tasks[31].priority", "tasks[99]"]
    assert answer["error"].startswith("3 of 100 tasks are wrong, none was stored: tasks[7].type: ")
    assert 'did you mean "echo"?' in answer["details"][0]["error"]


def test_a_single_fault_is_in_the_details_too(api: Client) -> None:
    status, answer = post(api, {"tasks": [{"type": "echo"}, {}]})
    assert (status, paths(answer)) == (400, ["tasks[1].type"])


def test_a_thousand_wrong_tasks_are_all_named_and_only_the_first_at_length(api: Client) -> None:
    status, answer = post(api, {"tasks": [{"type": "ecko" * 20, "prioritiy": 1}] * 1000})
    assert status == 400
    assert len(answer["details"]) == 2000
    assert "did you mean" in answer["details"][0]["error"]
    assert "did you mean" not in answer["details"][-1]["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"[]", 'the body must be a JSON object such as {"tasks": [...]}, not an array'),
        (b'{"type": "echo"}', 'unknown field "type"; the fields are tasks; tasks is missing'),
        (b"{}", "tasks is missing"),
        (b'{"tasks": null}', "tasks must be an array of tasks, not null"),
        (b'{"tasks": {"0": {"type": "echo"}}}', "tasks must be an array of tasks, not an object"),
        (b'{"tasks": [{"type": "echo"}], "priority": 5}', 'unknown field "priority"; the fields are tasks'),
        (b'{"task": [{"type": "echo"}]}', 'did you mean "tasks"?; tasks is missing'),
        (b'{"tasks": []}', "1 to 1,000 tasks, not 0"),
        (json.dumps(tasks(1001)).encode(), "1 to 1,000 tasks, not 1,001"),
        (b'{"tasks": [{"type": "echo"}', "line 1 column 28"),
        (b'{"tasks": [{"type": "echo"}], "tasks": []}', '"tasks" occurs twice'),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_body_that_is_no_batch_is_refused(api: Client, body: bytes, said: str) -> None:
    status, answer = post(api, body)
    assert status == 400
    assert said in answer["error"]


@pytest.mark.parametrize(
    ("data", "path", "said"),
    [
        ('{"a": {"b": ["x", "\\u0000"]}}', "tasks[731].data.a.b[1]", "NUL"),
        ('{"a": "\\ud800"}', "tasks[731].data.a", "surrogate"),
        ('{"a\\u0000": 1}', "tasks[731].data", "NUL"),
        ('{"a": {"b": 1, "b": 2}}', "tasks[731].data.a", '"b" occurs twice'),
    ],
)
def test_what_no_task_may_contain_is_named_by_its_path(api: Client, data: str, path: str, said: str) -> None:
    good = '{"type": "echo", "data": {"good": "\\ud83d\\ude00 \\\\u0000"}}'
    bad = f'{{"type": "echo", "data": {data}}}'
    status, answer = post(api, ('{"tasks": [' + ",".join([good] * 731 + [bad] + [good] * 268) + "]}").encode())
    assert status == 400
    assert answer["error"].startswith(f"{path}: ")
    assert said in answer["error"]


def test_data_as_deep_as_it_may_be_alone_may_be_in_a_batch(api: Client) -> None:
    deep = {"deep": json.loads("[" * 62 + "1" + "]" * 62)}
    assert post(api, {"tasks": [{"type": "echo", "data": deep}]})[0] == 200


def test_data_deeper_than_it_may_be_alone_is_refused(api: Client) -> None:
    deep = {"deep": json.loads("[" * 63 + "1" + "]" * 63)}
    assert post(api, {"tasks": [{"type": "echo", "data": deep}]})[0] == 400


def test_a_batch_may_be_larger_than_a_task_but_no_task_in_it(api: Client) -> None:
    large = {"type": "echo", "data": {"a": "x" * 1024 * 1024}}
    status, answer = post(api, {"tasks": [{"type": "echo"}, large]})
    assert (status, paths(answer)) == (413, ["tasks[1].data"])
    assert "1,048,576 bytes" in answer["error"]
    fits = {"type": "echo", "data": {"a": "x" * 1_000_000}}
    assert post(api, {"tasks": [fits] * 8})[0] == 200


def test_a_batch_over_eight_times_a_tasks_limit_is_413(api: Client) -> None:
    status, answer = post(api, b'{"tasks": [' + b" " * 8 * 1024 * 1024 + b"]}")
    assert status == 413
    assert "8,388,608 bytes" in answer["error"]


# ---- admission -------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(conf, "environment", conf.read)
    monkeypatch.setattr(admission, "token_bucket", TokenBucket())
    return monkeypatch


def test_a_batch_that_does_not_fit_into_the_queue_is_429_and_stores_nothing(api: Client, environment: Any) -> None:
    environment.setenv("DAEMON_MAX_QUEUE", "10")
    answer = api.post("/queue/batch", json.dumps(tasks(11)), content_type="application/json")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert "11 more are too many" in answer.json()["error"]
    assert api.post("/queue/batch", json.dumps(tasks(4)), content_type="application/json").status_code == 200
    assert api.post("/queue/batch", json.dumps(tasks(7)), content_type="application/json").status_code == 429
    assert api.post("/queue/batch", json.dumps(tasks(6)), content_type="application/json").status_code == 200
    assert api.post("/queue/batch", json.dumps(tasks(1)), content_type="application/json").status_code == 429
    assert Task.objects.count() == 10


def test_the_rate_counts_tasks_and_a_batch_is_paid_for_afterwards(api: Client, environment: Any) -> None:
    environment.setenv("DAEMON_MAX_RATE", "0.001")
    assert post(api, tasks(5))[0] == 200
    answer = api.post("/queue", b'{"type": "echo"}', content_type="application/json")
    assert answer.status_code == 429
    assert admission.token_bucket._tokens < -3
