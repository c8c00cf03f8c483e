"""Requests that are repeated with an Idempotency-Key, and tasks that are there once by their unique_key."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from tasks_app.api.waiting import VARIABLE, Deferred, Places, Wait
from tasks_app.keys import api_keys
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.models import Task
from testkit.clients import post

pytestmark = [pytest.mark.database, pytest.mark.django_db]

TASK = {"type": "echo", "data": {"n": 1}}
KEY = {"idempotency-key": "abc"}


def test_a_repeated_request_gets_the_first_ones_answer_and_stores_nothing(api: Client) -> None:
    first = post(api, "/queue", TASK, **KEY)
    again = post(api, "/queue/", {"data": {"n": 1}, "type": "echo"}, **{"idempotency-key": '"abc"'})
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["Location"] == first.headers["Location"] == f"/api/tasks/{first.json()['task_id']}"
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Task.objects.count() == 1
    current_reading(refresh=True)
    assert api.get("/api/metrics").json()["tasks_received"] == 1


def test_a_repeated_batch_gets_the_first_ones_answer(api: Client) -> None:
    body = {"tasks": [TASK, {"type": "prime", "unique_key": "a"}, TASK]}
    first, again = (post(api, "/queue/batch", body, **KEY) for _ in range(2))
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert first.json()["existing"] == [False, False, False]
    assert [str(pk) for pk in Task.objects.order_by("position").values_list("pk", flat=True)] == first.json()[
        "task_ids"
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/queue", TASK | {"priority": 1}), ("/queue", {"type": "prime"}), ("/queue/batch", {"tasks": [TASK]})],
)
def test_another_request_with_the_key_is_422_and_names_the_first_task(api: Client, path: str, body: Any) -> None:
    first = post(api, "/queue", TASK, **KEY).json()["task_id"]
    answer = post(api, path, body, **KEY)
    assert answer.status_code == 422
    assert answer.json() == {
        "error": f"this Idempotency-Key was used for another request, whose first task is {first}; use a new key"
    }
    assert Task.objects.count() == 1


def test_a_refused_request_is_not_remembered(api: Client) -> None:
    assert post(api, "/queue", TASK | {"priority": 101}, **KEY).status_code == 400
    answer = post(api, "/queue", TASK, **KEY)
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (200, False)


def test_the_key_of_a_deleted_task_goes_on_answering_its_id(api: Client) -> None:
    first = post(api, "/queue", TASK, **KEY)
    delete(UUID(first.json()["task_id"]))
    assert post(api, "/queue", TASK, **KEY).content == first.content
    assert not Task.objects.exists()


def test_callers_with_other_api_keys_have_keys_of_their_own(api: Client) -> None:
    one, two = (f"Bearer {api_keys.create(name)}" for name in ("one", "two"))
    ids = [post(api, "/queue", TASK, authorization=each, **KEY).json()["task_id"] for each in (one, two, one, two)]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == Task.objects.count() == 2


@pytest.mark.parametrize("path", ["/queue", "/queue/batch"])
@pytest.mark.parametrize("headers", [KEY, {}], ids=["idempotency key", "unique key"])
def test_if_tasks_with_the_keys_end_again_and_again_it_is_503(
    api: Client, monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str]
) -> None:
    for module in ("idempotency", "keyed_submit"):
        monkeypatch.setattr(f"tasks_app.queue.{module}.MAX_ROUNDS", 0)
    task = TASK | {"unique_key": "a"}
    answer = post(api, path, {"tasks": [task]} if "batch" in path else task, **headers)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "end again and again" in answer.json()["error"]
    assert not Task.objects.exists()


def test_a_unique_key_is_answered_with_the_living_task(api: Client) -> None:
    first = post(api, "/queue", TASK | {"unique_key": "a"}).json()
    assert first == {"task_id": first["task_id"], "existing": False}
    again = post(api, "/queue", {"type": "echo", "unique_key": "a", "delay": 60})
    assert again.json() == {"task_id": first["task_id"], "existing": True}
    assert again.headers["Location"] == f"/api/tasks/{first['task_id']}"
    assert post(api, "/queue", {"type": "prime", "unique_key": "a"}).json()["existing"] is False
    assert cancel(UUID(first["task_id"]))
    assert post(api, "/queue", TASK | {"unique_key": "a"}).json()["existing"] is False


def test_a_batch_says_of_each_task_whether_it_existed_if_any_has_a_unique_key(api: Client) -> None:
    there = post(api, "/queue", TASK | {"unique_key": "a"}).json()["task_id"]
    body = {"tasks": [TASK, *({"type": "echo", "unique_key": key} for key in ("a", "b", "b"))]}
    answer = post(api, "/queue/batch", body).json()
    assert answer["existing"] == [False, True, False, True]
    assert answer["task_ids"][1] == there
    assert answer["task_ids"][2] == answer["task_ids"][3]
    assert "existing" not in post(api, "/queue/batch", {"tasks": [TASK]}).json()


def test_a_redrive_beside_a_living_task_with_its_unique_key_is_409_and_names_it(api: Client) -> None:
    ended = post(api, "/queue", TASK | {"unique_key": "a"}).json()["task_id"]
    cancel(UUID(ended))
    living = post(api, "/queue", TASK | {"unique_key": "a"}).json()["task_id"]
    answer = post(api, f"/api/tasks/{ended}/redrive")
    assert answer.status_code == 409
    assert answer.json() == {"error": f"Task {living} has the same type and unique_key and has not ended"}
    assert api.get(f"/api/tasks/{ended}").json()["failure_reason"] == "cancelled"
    cancel(UUID(living))
    assert post(api, f"/api/tasks/{ended}/redrive").json()["status"] == "pending"


def test_a_repetition_waits_too(api: Client) -> None:
    body, deferred = TASK | {"unique_key": "a"}, Deferred(Places(1), Places(1))
    task = post(api, "/queue", body, **KEY).json()["task_id"]
    api.defaults[VARIABLE] = deferred  # type: ignore[assignment]
    answer = post(api, "/queue?wait=5", body, **KEY)
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert deferred.wait == Wait(UUID(task), 5, True, existing=False)


def test_options_are_stored_and_shown(api: Client) -> None:
    answer = post(
        api,
        "/queue",
        TASK
        | {
            "delay": 60,
            "expires_in": 120,
            "timeout": 5,
            "max_retries": 1,
            "tags": ["b", "a", "b"],
            "metadata": {"ü": 1},
        },
    )
    task = api.get(answer.headers["Location"]).json()
    assert (task["timeout"], task["max_retries"], task["tags"], task["metadata"]) == (5.0, 1, ["b", "a"], {"ü": 1})
    assert task["created_at"] < task["due_at"] < task["expires_at"]
    assert (task["status"], "unique_key" in task) == ("pending", False)
    assert [each["id"] for each in api.get("/api/tasks?tag=a").json()] == [task["id"]]


def test_a_start_in_the_past_is_now(api: Client) -> None:
    task = api.get(post(api, "/queue", TASK | {"run_at": "2000-01-01T00:00:00Z"}).headers["Location"]).json()
    assert (task["due_at"], task["status"]) == (None, "pending")
