"""`callback_url` at a POST: what is accepted, and by whose secret it is signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tasks_app.audit import AuditEntry
from tasks_app.features.schedules.firing import fire_due
from tasks_app.keys.api_keys import ApiKey, KeyRefused, create, new_callback_secret, revoke
from tasks_app.queue.models import Task
from testkit.clients import post
from tests.features.callbacks.kit import OTHER_SECRET, SECRET, URL
from tests.features.schedules.kit import move, schedule

pytestmark = [pytest.mark.django_db, pytest.mark.database]
TASK = {"type": "echo", "callback_url": URL}


@pytest.fixture
def signed(listen: Callable[..., None]) -> None:
    """The deployment has secrets."""
    listen(callback_secrets=f"{SECRET}, {OTHER_SECRET}")


def queued(api: Client, body: Any, **headers: str) -> Any:
    return post(api, "/queue", body, **headers)


@pytest.mark.usefixtures("signed")
def test_a_task_has_its_callback_url_in_each_answer(api: Client) -> None:
    identity = queued(api, TASK).json()["task_id"]
    assert api.get(f"/api/tasks/{identity}").json()["callback_url"] == URL
    assert api.get("/api/tasks").json()[0]["callback_url"] == URL
    [other] = post(api, "/queue/batch", {"tasks": [TASK | {"callback_url": "http://example.org"}]}).json()["task_ids"]
    row = Task.objects.get(pk=other)
    assert (row.callback_url, row.callback_key, row.callback_told) == ("http://example.org", None, None)
    plain = queued(api, {"type": "echo", "callback_url": None}).json()["task_id"]
    assert "callback_url" not in api.get(f"/api/tasks/{plain}").json()


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize(
    ("url", "why"),
    [
        (5, "must be a URL such as https://example.org/tasks, not"),
        ("", "callback_url is no URL with http"),
        ("example.org", "callback_url is no URL with http"),
        ("ftp://example.org/", "callback_url is no URL with http"),
        ("https://ada:secret@example.org/", "has a user or a password"),
        ("https://example.org/#a", "has a fragment"),
        ("https://example.org/" + "x" * 2048, "has more than 2048 characters"),
        ("http://localhost/", "has a loopback address, and DAEMON_CALLBACK_HOSTS does not name its host"),
        ("http://127.0.0.1:8080/", "has a loopback address"),
        ("http://169.254.169.254/latest", "has an address of a cloud's metadata"),
        ("http://[::1]/", "has a loopback address"),
    ],
)
def test_an_address_that_is_not_told_of_is_refused(api: Client, url: object, why: str) -> None:
    answer = queued(api, {"type": "echo", "callback_url": url})
    assert answer.status_code == 400
    assert why in answer.json()["error"]
    assert not Task.objects.exists()


def test_a_host_that_the_deployment_names_may_be_private(api: Client, listen: Callable[..., None]) -> None:
    listen(callback_secrets=SECRET, callback_hosts="LOCALHOST, 10.1.2.3")
    for url in ("http://localhost:9000/", "http://10.1.2.3/"):
        assert queued(api, {"type": "echo", "callback_url": url}).status_code == 200
    assert queued(api, {"type": "echo", "callback_url": "http://10.1.2.4/"}).status_code == 400


def test_without_a_secret_it_is_refused_and_says_what_to_do(api: Client) -> None:
    answer = queued(api, TASK)
    assert answer.status_code == 400
    assert "DAEMON_CALLBACK_SECRETS" in answer.json()["error"] and "--callback-secret" in answer.json()["error"]
    faults = post(api, "/queue/batch", {"tasks": [{"type": "echo"}, TASK]}).json()
    assert "tasks[1].callback_url" in faults["error"]


def test_the_secret_of_the_callers_key_signs_its_tasks(api: Client) -> None:
    create("other")
    key = create("mine")
    new_callback_secret("mine")
    bearer = {"Authorization": f"Bearer {key}"}
    assert queued(api, TASK, **bearer).status_code == 200
    assert post(api, "/queue/batch", {"tasks": [TASK, {"type": "echo"}]}, **bearer).status_code == 200
    row = ApiKey.objects.get(name="mine")
    assert sorted(Task.objects.values_list("callback_url", "callback_key"), key=str) == [
        (URL, row.pk), (URL, row.pk), (None, None)
    ]  # fmt: skip


def test_a_key_without_a_secret_of_its_own_needs_the_deployments(api: Client) -> None:
    bearer = {"Authorization": f"Bearer {create('mine')}"}
    assert queued(api, TASK, **bearer).status_code == 400


def test_a_new_secret_replaces_the_one_before_and_a_revoked_key_gets_none() -> None:
    create("mine")
    first, second = new_callback_secret("mine"), new_callback_secret("mine")
    assert first != second and ApiKey.objects.get().callback_secret == second
    revoke("mine")
    with pytest.raises(KeyRefused, match="no key in force is named 'mine'"):
        new_callback_secret("mine")


@pytest.mark.usefixtures("signed")
def test_a_living_task_with_the_unique_key_tells_its_own_url_and_the_answer_says_so(api: Client) -> None:
    keyed = TASK | {"unique_key": "a"}
    first = queued(api, keyed).json()
    assert first == {"task_id": first["task_id"], "existing": False}
    assert queued(api, keyed).json() == {**first, "existing": True, "callback_taken": True}
    other, without = keyed | {"callback_url": "https://example.org/other"}, {"type": "echo", "unique_key": "a"}
    key = {"Idempotency-Key": "k"}
    for answer in (queued(api, other, **key), queued(api, other, **key), post(api, "/queue?wait=0", other)):
        assert answer.json().items() >= {**first, "existing": True, "callback_taken": False}.items()
    assert queued(api, without).json() == {**first, "existing": True}
    batch = post(api, "/queue/batch", {"tasks": [other, keyed, without, TASK]}).json()
    assert batch["existing"] == [True, True, True, False] and batch["callback_taken"] == [False, True, None, None]
    assert "callback_taken" not in post(api, "/queue/batch", {"tasks": [without, TASK]}).json()
    assert Task.objects.get(pk=first["task_id"]).callback_url == URL


@pytest.mark.usefixtures("signed")
def test_a_callback_that_another_keys_secret_signs_is_not_taken(api: Client) -> None:
    keyed = TASK | {"unique_key": "a"}
    bearer = {"Authorization": f"Bearer {create('mine')}"}
    queued(api, keyed, **bearer)
    assert queued(api, keyed, **bearer).json()["callback_taken"] is True
    other = {"Authorization": f"Bearer {create('other')}"}
    new_callback_secret("other")
    assert queued(api, keyed, **other).json()["callback_taken"] is False


@pytest.mark.usefixtures("signed")
def test_a_schedules_tasks_have_its_callback_url() -> None:
    schedule(callback_url=URL)
    move("nightly", 1.0)
    fire_due()
    assert Task.objects.get().callback_url == URL


@pytest.mark.usefixtures("signed")
def test_a_schedule_with_a_wrong_callback_url_is_refused(api: Client) -> None:
    body = {"type": "echo", "every": "1h", "callback_url": "http://localhost/"}
    answer = api.put("/api/schedules/a", body, content_type="application/json")
    assert answer.status_code == 400 and "loopback" in answer.json()["error"]
    assert not AuditEntry.objects.exists()


@pytest.mark.usefixtures("signed")
def test_an_idempotency_key_names_the_callback_url_too(api: Client) -> None:
    first = queued(api, TASK, **{"Idempotency-Key": "a"})
    again = queued(api, TASK, **{"Idempotency-Key": "a"})
    assert again.json() == first.json() and again.headers["Idempotent-Replayed"] == "true"
    other = queued(api, TASK | {"callback_url": "https://example.org/other"}, **{"Idempotency-Key": "a"})
    assert other.status_code == 422
