"""Acts that are repeated with an Idempotency-Key: done once, whoever asks how often, and answered as they are now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import URLPattern, resolve

from tasks_app.api.view import API
from tasks_app.audit import AuditEntry
from tasks_app.features.callbacks.models import State
from tasks_app.features.operations.models import Operation
from tasks_app.keys import api_keys
from tasks_app.queue import maintenance
from tasks_app.queue.cancel import delete
from tasks_app.queue.idempotency import NO_ID
from tasks_app.queue.models import IdempotencyKey, Task
from tasks_app.queue.node_models import HandlerPause
from tasks_app.urls import urlpatterns
from testkit.clients import api_client, post
from testkit.rows import node
from tests.admin.rows import task
from tests.features.callbacks.rows import delivery
from tests.queue.moves.kit import take, together

pytestmark = [pytest.mark.database, pytest.mark.django_db]

KEY = {"idempotency-key": "abc"}
FILTER = {"filter": {"type": "echo"}}


def cancelled() -> tuple[str, Any]:
    return f"/api/tasks/{task().pk}/cancel", b""


def redriven() -> tuple[str, Any]:
    return f"/api/tasks/{task('failed').pk}/redrive", {"data": {"n": 2}}


def prioritized() -> tuple[str, Any]:
    return f"/api/tasks/{task().pk}/priority", {"priority": 70}


def told_again() -> tuple[str, Any]:
    ended = task("completed").pk
    delivery(State.FAILED, task=ended)
    return f"/api/tasks/{ended}/callbacks/retry", b""


def given_up() -> tuple[str, Any]:
    delivery()
    return "/api/callbacks/give-up", FILTER


def operated() -> tuple[str, Any]:
    return "/api/tasks/cancel", FILTER


def aborted() -> tuple[str, Any]:
    started = post(api_client(), "/api/tasks/cancel", FILTER).json()["operation_id"]
    return f"/api/operations/{started}/abort", {}


def paused() -> tuple[str, Any]:
    return "/api/handlers/echo/pause", {"for": 600}


def resumed() -> tuple[str, Any]:
    post(api_client(), "/api/handlers/echo/pause")
    return "/api/handlers/echo/resume", b""


def drained(name: str = "n1") -> tuple[str, Any]:
    node(name)
    return f"/api/nodes/{name}/drain", {"reason": "new disk"}


def undrained() -> tuple[str, Any]:
    path, _ = drained("n2")
    post(api_client(), path)
    return "/api/nodes/n2/undrain", b""


def scheduled(act: str) -> tuple[str, Any]:
    body = {"type": "echo", "every": "1h"}
    api_client().put("/api/schedules/s", body, content_type="application/json")
    return f"/api/schedules/s/{act}", b""


def paused_schedule() -> tuple[str, Any]:
    return scheduled("pause")


def resumed_schedule() -> tuple[str, Any]:
    post(api_client(), scheduled("pause")[0])
    return scheduled("resume")


def run_schedule() -> tuple[str, Any]:
    return scheduled("run")


ACTS = [
    *(cancelled, redriven, prioritized, operated, aborted, paused, resumed, drained, undrained),
    *(paused_schedule, resumed_schedule, run_schedule, told_again, given_up),
]
each_act = pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
Act = Callable[[], tuple[str, Any]]


def ids(answer: Any) -> Any:
    """What an answer is about."""
    said = answer.json()
    if isinstance(said, list):
        return tuple(each["id"] for each in said)
    if "given_up" in said:
        return said["matched"], *said["by_host"]
    return said.get("operation_id") or said.get("task_id") or said.get("id") or said.get("type") or said["name"]


def test_an_id_in_capitals_is_the_same_request(api: Client) -> None:
    for path, body in (cancelled(), aborted()):
        first, (start, name, act) = post(api, path, body, **KEY), path.rsplit("/", 2)
        again = post(api, f"{start}/{name.upper()}/{act}/", body, **KEY)
        assert (again.status_code, again["Idempotent-Replayed"], ids(again)) == (200, "true", ids(first))
        IdempotencyKey.objects.all().delete()


@each_act
def test_an_act_that_is_repeated_is_done_once_and_answered_alike(api: Client, act: Act) -> None:
    path, body = act()
    before = AuditEntry.objects.count()
    first = post(api, path, body, **KEY)
    assert first.status_code in (200, 202) and "Idempotent-Replayed" not in first.headers
    for again in (post(api, path, body, **KEY), post(api, f"{path}/", body, **{"idempotency-key": '"abc"'})):
        assert (again.status_code, ids(again)) == (first.status_code, ids(first))
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers.get("Location") == first.headers.get("Location")
    assert AuditEntry.objects.count() == before + 1


def test_every_post_answers_a_repeat() -> None:
    calls = [each for each in urlpatterns if isinstance(each, URLPattern)]
    views = {each.name: getattr(each.callback, "cls", None) for each in calls}
    posts = {name: view for name, view in views.items() if view is not None and hasattr(view, "post")}
    silent = {name for name, view in posts.items() if view.answer is API.answer}
    assert silent == {"queue", "batch"}, "these answer by `admission`"
    tried = {resolve(act()[0]).url_name for act in ACTS}
    alike = {"redrive-all", "delete-all", "prioritize-all", "retry_callbacks"}
    assert posts.keys() - silent - tried == alike, "made as cancel-all is"


@each_act
def test_another_request_with_the_key_of_an_act_is_422_and_names_it(api: Client, act: Act) -> None:
    path, body = act()
    post(api, path, body, **KEY)
    before = AuditEntry.objects.count()
    others: list[tuple[str, Any]] = [("/queue", {"type": "echo"}), ("/queue/batch", {"tasks": [{"type": "echo"}]})]
    others += [one() for one in (cancelled, redriven, prioritized)] + [(path.rsplit("/", 1)[0] + "/redrive", FILTER)]
    told = f"this Idempotency-Key was used for another request, POST {path}; use a new key"
    for other, sent in others[:5]:
        answer = post(api, other, sent, **KEY)
        assert (answer.status_code, answer.json()["error"]) == (422, told)
    assert AuditEntry.objects.count() == before and IdempotencyKey.objects.count() == 1


def test_the_key_of_a_posted_task_is_no_acts_and_names_the_task(api: Client) -> None:
    first = post(api, "/queue", {"type": "echo"}, **KEY).json()["task_id"]
    path, body = cancelled()
    answer = post(api, path, body, **KEY)
    assert answer.status_code == 422 and f"whose first task is {first}" in answer.json()["error"]
    assert Task.objects.filter(status="pending").count() == 2


def test_a_body_that_means_the_same_is_the_same_request(api: Client) -> None:
    one = task("failed", task_data={"n": 1})
    path = f"/api/tasks/{one.pk}/redrive"
    assert post(api, path, {"data": {"n": 2}}, **KEY).status_code == 200
    assert post(api, path, {"data": {"n": 2.0}, "priority": None}, **KEY).headers["Idempotent-Replayed"] == "true"
    assert post(api, path, {"data": {"n": 2}, "priority": 50}, **KEY).status_code == 422, "none is what it has"
    assert post(api, path, {"data": {"n": True}}, **KEY).status_code == 422
    other = {"idempotency-key": "another"}
    first = post(api, "/api/tasks/cancel", {"filter": {"type": "echo", "status": "pending,processing"}}, **other)
    same = {"filter": {"status": ["processing", "pending"], "type": ["echo"]}, "dry_run": False, "limit": None}
    again = post(api, "/api/tasks/cancel", same, **other)
    assert (again.status_code, again.json()) == (202, first.json()) and Operation.objects.count() == 1


def test_a_canary_means_a_stop_share_of_a_half_and_without_one_there_is_none(api: Client) -> None:
    path, canary, half = "/api/tasks/redrive", {**FILTER, "canary": 5}, {"stop_share": 0.5}
    assert post(api, path, canary, **KEY).status_code == 202
    assert post(api, path, canary | half, **KEY).headers["Idempotent-Replayed"] == "true"
    assert post(api, path, canary | {"stop_share": 0.4}, **KEY).status_code == 422
    other = {"idempotency-key": "another"}
    assert post(api, path, FILTER, **other).status_code == 202
    assert post(api, path, FILTER | half, **other).status_code == 422
    assert Operation.objects.count() == 2


def test_a_repeat_shows_the_object_as_it_is_now(api: Client) -> None:
    path, body = redriven()
    assert post(api, path, body, **KEY).json()["status"] == "pending"
    take()
    again = post(api, path, body, **KEY)
    assert (again.status_code, again.json()["status"]) == (200, "processing")
    [row] = IdempotencyKey.objects.all()
    delete(UUID(row.target))
    gone = post(api, path, body, **KEY)
    assert gone.status_code == 404 and gone.headers["Idempotent-Replayed"] == "true"
    assert f"has done this to {row.target}, which is gone now" in gone.json()["error"]


def test_an_act_that_changed_nothing_is_remembered_too(api: Client) -> None:
    assert post(api, "/api/handlers/echo/resume", **KEY).status_code == 200
    post(api, "/api/handlers/echo/pause")
    again = post(api, "/api/handlers/echo/resume", **KEY)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["paused"] is not None and HandlerPause.objects.exists(), "what came later stays"


def test_a_refused_act_is_not_remembered(api: Client) -> None:
    done = task("completed")
    started = post(api, "/api/tasks/cancel", FILTER).json()["operation_id"]
    abort = f"/api/operations/{started}/abort"
    assert post(api, abort).status_code == 200
    for path, body, status in (
        (f"/api/tasks/{done.pk}/cancel", b"", 409),
        (f"/api/tasks/{done.pk}/redrive", {"data": {}}, 404),
        (f"/api/tasks/{done.pk}/priority", {"priority": 1}, 409),
        (abort, b"", 409),
        ("/api/handlers/echo/pause", {"until": "2001-01-01T00:00:00Z"}, 400),
        ("/api/tasks/cancel", {"filter": {}}, 400),
    ):
        assert post(api, path, body, **KEY).status_code == status
    assert not IdempotencyKey.objects.exists()
    assert "Idempotent-Replayed" not in post(api, *cancelled(), **KEY).headers


def test_a_dry_run_does_nothing_and_is_not_remembered(api: Client) -> None:
    for count in (1, 2):
        task()
        answer = post(api, "/api/tasks/cancel", FILTER | {"dry_run": True}, **KEY)
        assert (answer.status_code, answer.json()["matched"]) == (200, count)
    wrong = {"idempotency-key": "a b"}
    assert post(api, "/api/tasks/cancel", FILTER | {"dry_run": True}, **wrong).status_code == 400
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_what_is_no_key_is_refused_and_nothing_is_done(api: Client, act: Act) -> None:
    path, body = act()
    before = AuditEntry.objects.count()
    answer = post(api, path, body, **{"idempotency-key": "a b"})
    assert answer.status_code == 400 and answer.json()["error"].startswith("Idempotency-Key must be 1 to 255")
    assert AuditEntry.objects.count() == before


def test_keys_of_acts_belong_to_their_api_key_and_are_forgotten_in_time(api: Client) -> None:
    one, two = (f"Bearer {api_keys.create(name)}" for name in ("one", "two"))
    path = "/api/handlers/echo/pause"
    answers = [
        post(api, path, {"for": 60 + n % 2}, authorization=each, **KEY) for n, each in enumerate((one, two, one))
    ]
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, None, "true"]
    assert {row.task_ids[0] for row in IdempotencyKey.objects.all()} == {str(NO_ID)}
    IdempotencyKey.objects.update(expires_at="2001-01-01T00:00Z")
    assert "Idempotent-Replayed" not in post(api, path, {"for": 90}, authorization=one, **KEY).headers
    assert maintenance.forget_idempotency_keys() == 1


@pytest.mark.django_db(transaction=True)
@each_act
def test_of_two_at_once_one_acts_and_the_other_answers_the_same(api: Client, act: Act) -> None:
    path, body = act()
    before = AuditEntry.objects.count()
    answers = together(*[lambda: post(api_client(), path, body, **KEY)] * 4)
    assert {(answer.status_code, ids(answer)) for answer in answers} == {(answers[0].status_code, ids(answers[0]))}
    assert answers[0].status_code in (200, 202)
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == ["", *["true"] * 3]
    assert AuditEntry.objects.count() == before + 1 and IdempotencyKey.objects.count() == 1


def test_a_request_that_is_written_in_another_way_is_known_by_its_meaning(api: Client) -> None:
    first = post(api, "/queue", {"type": "echo", "data": {"n": 1.0}, "priority": 50}, **KEY)
    again = post(api, "/queue", {"type": "echo", "data": {"n": 1}, "tags": None}, **KEY)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert post(api, "/queue", {"type": "echo", "data": {"n": True}}, **KEY).status_code == 422
