"""`/api/schedules`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from tasks_app.api.pages import BUDGET_BYTES, SMALL_BYTES, response_budget
from tasks_app.audit import AuditEntry
from tasks_app.features.schedules import api as schedules
from tasks_app.features.schedules.firing import fire_due
from tasks_app.features.schedules.models import Firing, Schedule, Source
from tasks_app.keys.api_keys import Grant, create
from tasks_app.queue.models import Task
from testkit.clients import post
from tests.features.schedules.kit import move, schedule

pytestmark = [pytest.mark.database, pytest.mark.django_db]

AT = "/api/schedules"
DAILY = {"type": "echo", "cron": "30 6 * * mon-fri", "timezone": "Europe/Berlin", "data": {"n": 1}, "tags": ["a", "a"]}


def put(api: Client, name: str, body: Any, **headers: str) -> Any:
    return api.put(f"{AT}/{name}", json.dumps(body), content_type="application/json", headers=headers)


def test_a_schedule_is_made_read_replaced_and_deleted(api: Client) -> None:
    made = put(api, "report", DAILY)
    assert made.status_code == 201, made.content
    said = made.json()
    assert {name: said[name] for name in DAILY} == DAILY
    assert (said["every"], said["overlap"], said["catch_up"], said["jitter"], said["enabled"]) == (
        None, "allow", "one", 0.0, True
    )  # fmt: skip
    assert (said["priority"], said["defined_in"], said["paused"], said["last"]) == (50, "api", None, None)
    ticks = [datetime.fromisoformat(tick) for tick in said["next"]]
    assert len(ticks) == 5 and ticks == sorted(ticks)
    assert api.get(f"{AT}/report").json() == said
    assert put(api, "report", DAILY).json() == said
    replaced = put(api, "report", {"type": "echo", "every": "15m", "metadata": {"a": 1}, "priority": None})
    assert replaced.status_code == 200
    assert (replaced.json()["cron"], replaced.json()["every"], replaced.json()["revision"]) == (None, "15m", 2)
    assert "tags" not in replaced.json() and replaced.json()["metadata"] == {"a": 1}
    assert api.delete(f"{AT}/report").status_code == 204
    assert api.get(f"{AT}/report").status_code == api.delete(f"{AT}/report").status_code == 404
    assert list(AuditEntry.objects.order_by("pk").values_list("action", "target")) == [
        ("put_schedule", "report"), ("put_schedule", "report"), ("delete_schedule", "report")
    ]  # fmt: skip


def test_a_key_that_may_not_read_tasks_gets_neither_payload_nor_options_of_a_schedules_tasks(api: Client) -> None:
    given: dict[str, Any] = {
        "callback_url": "https://example.org/S3CRET", "metadata": {"S3CRET": 1}, "data": {"S3CRET": 1},
        "tags": ["S3CRET"], "unique_key": "S3CRET", "timeout": 77, "expires_in": 77, "max_retries": 7,
    }  # fmt: skip
    schedule(**given)
    bearer = {"Authorization": f"Bearer {create('ops', Grant(scopes=['operate']))}"}
    assert api.get(f"{AT}/nightly", headers=bearer).status_code == api.get(AT, headers=bearer).status_code == 403
    for verb in ("pause", "resume"):
        said = api.post(f"{AT}/nightly/{verb}", headers=bearer)
        assert said.status_code == 200 and "S3CRET" not in said.text
        assert given.keys() & said.json().keys() == {"data"}
    reader = {"Authorization": f"Bearer {create('reader')}"}
    assert api.get(f"{AT}/nightly", headers=reader).json()["callback_url"] == "https://example.org/S3CRET"
    said = put(api, "nightly", {"type": "echo", "every": "1d", "tags": ["S3CRET"], "unique_key": "S3CRET"}, **bearer)
    assert said.status_code == 200 and "S3CRET" not in said.text


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["cron", "type"]),
        ([], [""]),
        ({**DAILY, "every": "1m"}, ["every"]),
        ({"type": "echo", "every": "1m", "timezone": "UTC"}, ["timezone"]),
        ({"type": "ecoh", "cron": "0 0 30 2 *", "timezone": "Berlin"}, ["cron", "timezone", "type"]),
        ({"type": "echo", "cron": 5}, ["cron"]),
        ({"type": "echo", "every": 900}, ["every"]),
        ({**DAILY, "overlap": "skp"}, ["overlap"]),
        ({**DAILY, "overlap": 1}, ["overlap"]),
        ({**DAILY, "jitter": 86_400}, ["jitter"]),
        ({**DAILY, "jitter": -1}, ["jitter"]),
        ({**DAILY, "jitter": 10, "expires_in": 10}, ["expires_in"]),
        ({**DAILY, "enabled": "yes"}, ["enabled"]),
        ({**DAILY, "delay": 5}, ["delay"]),
        ({**DAILY, "run_at": "2030-01-01T00:00:00Z"}, ["run_at"]),
        ({**DAILY, "crn": "* * * * *", "priority": 101}, ["crn", "priority"]),
    ],
)
def test_a_definition_is_refused_with_every_fault(api: Client, body: Any, fields: list[str]) -> None:
    answer = put(api, "report", body)
    assert answer.status_code == 400
    said = answer.json()
    found = sorted({fault["field"] for fault in said.get("details", ())})
    assert found == fields or (len(fields) == 1 and fields[0] in said["error"]), said
    assert not Schedule.objects.exists()


def test_refusals_name_what_was_meant(api: Client) -> None:
    assert "did you mean Europe/Berlin?" in put(api, "a", {**DAILY, "timezone": "berlin"}).json()["error"]
    assert 'did you mean "skip"?' in put(api, "a", {**DAILY, "overlap": "skp"}).json()["error"]
    assert 'did you mean "echo"?' in put(api, "a", {**DAILY, "type": "ecoh"}).json()["error"]
    assert "letters, digits" in put(api, "a.b", DAILY).json()["error"]
    schedule("report")
    assert api.get(f"{AT}/reprt").json()["error"] == 'no schedule is named "reprt"; did you mean "report"?'
    assert api.get(f"{AT}/%00").status_code == 404


def test_what_handlers_toml_defines_is_changed_there(api: Client) -> None:
    schedule("report")
    Schedule.objects.update(source=Source.FILE)
    assert put(api, "report", DAILY).status_code == api.delete(f"{AT}/report").status_code == 409
    assert "handlers.toml" in put(api, "report", DAILY).json()["error"]
    assert post(api, f"{AT}/report/pause").json()["defined_in"] == "handlers.toml"


def test_pause_and_resume_answer_the_schedule(api: Client) -> None:
    schedule("report")
    paused = post(api, f"{AT}/report/pause").json()
    assert (paused["paused"]["by"], paused["next"]) == ("(no API key)", [])
    assert post(api, f"{AT}/report/pause").json() == paused
    resumed = post(api, f"{AT}/report/resume").json()
    assert resumed["paused"] is None and len(resumed["next"]) == 5 and resumed["revision"] == 3


def test_a_run_answers_its_task_and_the_same_one_when_it_is_repeated(api: Client) -> None:
    schedule("report", overlap="skip", data={"n": 5})
    post(api, f"{AT}/report/pause")
    first = post(api, f"{AT}/report/run")
    assert first.status_code == 200 and first["Location"] == f"/api/tasks/{first.json()['task_id']}"
    task = api.get(first["Location"]).json()
    assert (task["schedule"], task["task_data"]) == ("report", {"n": 5})
    keyed = [post(api, f"{AT}/report/run", **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert keyed[0].json() == keyed[1].json() != first.json()
    assert keyed[1]["Idempotent-Replayed"] == "true" and Task.objects.count() == 2
    lines = api.get(f"{AT}/report/firings").json()
    assert [(line["outcome"], line["by"]) for line in lines] == [("made", "(no API key)")] * 2
    assert {line["task_id"] for line in lines} == {str(pk) for pk in Task.objects.values_list("pk", flat=True)}


def test_a_run_is_refused_as_a_task_would_be(api: Client, listen: Callable[..., None]) -> None:
    schedule("gone", type="gone")
    assert post(api, f"{AT}/gone/run").status_code == 409
    schedule("report")
    listen(max_queue=0)
    answer = post(api, f"{AT}/report/run", **{"Idempotency-Key": "once"})
    assert answer.status_code == 429 and answer["Retry-After"] and not Firing.objects.exists()
    listen(max_queue=5)
    assert post(api, f"{AT}/report/run", **{"Idempotency-Key": "once"}).status_code == 200


def test_lists_have_pages(api: Client) -> None:
    for number in range(5):
        schedule(f"s{number}")
    first = api.get(f"{AT}?limit=2")
    second = api.get(first["Link"].split(">")[0][1:])
    assert [each["name"] for each in first.json() + second.json()] == ["s0", "s1", "s2", "s3"]
    for number in range(3):
        at = datetime.fromisoformat("2026-01-01T00:00:00+00:00") + timedelta(minutes=number)
        Firing.objects.create(schedule="s0", scheduled_for=at, at=at, outcome="missed", until=at, count=1)
    first = api.get(f"{AT}/s0/firings?limit=2")
    second = api.get(first["Link"].split(">")[0][1:])
    assert [line["scheduled_for"][14:16] for line in first.json() + second.json()] == ["02", "01", "00"]
    assert "Link" not in second.headers
    assert api.get(f"{AT}?limit=2&cursor=").status_code == api.get(f"{AT}/s0/firings?cursor=1").status_code == 400


def test_a_task_of_a_schedule_says_so_and_no_other_one_does(api: Client) -> None:
    schedule("report")
    tick = move("report", 1.0)
    fire_due()
    plain = post(api, "/queue", {"type": "echo", "data": {}}).json()["task_id"]
    last = api.get(f"{AT}/report").json()["last"]
    task = api.get(f"/api/tasks/{last['task_id']}").json()
    assert task["schedule"] == "report" and datetime.fromisoformat(task["scheduled_for"]) == tick
    assert last["outcome"] == "made" and last["scheduled_for"] == task["scheduled_for"]
    assert not {"schedule", "scheduled_for"} & api.get(f"/api/tasks/{plain}").json().keys()


def test_a_key_with_types_knows_the_schedules_of_these_alone(api: Client) -> None:
    schedule("mine")
    schedule("other", type="prime")
    bearer = {"Authorization": f"Bearer {create('ci', Grant(types=['echo']))}"}
    assert [each["name"] for each in api.get(AT, headers=bearer).json()] == ["mine"]
    assert api.get(f"{AT}/other", headers=bearer).status_code == 404
    assert api.get(f"{AT}/other/firings", headers=bearer).status_code == 404
    assert api.post(f"{AT}/other/run", headers=bearer).status_code == 404
    assert put(api, "other", DAILY, **bearer).status_code == 409
    assert put(api, "new", {**DAILY, "type": "prime"}, **bearer).status_code == 403
    assert put(api, "new", DAILY, **bearer).status_code == 201


def test_a_definition_of_a_newer_version_is_shown_as_it_is(api: Client) -> None:
    schedule("newer", every="1h")
    Schedule.objects.update(definition={"type": "echo", "every": "1 moon", "phase": "full"})
    (said,) = api.get(AT).json()
    assert said["every"] == "1 moon" and len(said["next"]) == 1
    Schedule.objects.update(definition={"type": "echo", "every": "1h", "jitter": "30s"})
    assert api.get(f"{AT}/newer").json()["jitter"] == "30s"


def test_a_definition_of_a_newer_version_is_neither_run_nor_resumed_but_replaced(api: Client) -> None:
    schedule("newer", every="1h")
    Schedule.objects.update(definition={"type": "echo", "every": "1h", "phase": "full"})
    assert post(api, f"{AT}/newer/pause").status_code == 200
    for verb in ("run", "resume"):
        refused = post(api, f"{AT}/newer/{verb}")
        assert refused.status_code == 409 and "does not understand" in refused.json()["error"], verb
    assert not Task.objects.exists() and Schedule.objects.get().paused_at is not None
    assert put(api, "newer", DAILY).status_code == 200
    assert post(api, f"{AT}/newer/resume").status_code == post(api, f"{AT}/newer/run").status_code == 200


def test_a_page_of_large_schedules_ends_earlier(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_PAGE_BYTES", 5_000)
    for number in range(5):
        schedule(f"s{number}", data={"text": "x" * (9_000 if number == 3 else 2_000)})
    pages, address = list[list[str]](), f"{AT}?limit=100"
    while address:
        page = api.get(address)
        pages.append([each["name"] for each in page.json()])
        address = page["Link"].split(">")[0][1:] if "Link" in page.headers else ""
    assert pages == [["s0", "s1"], ["s2"], ["s3"], ["s4"]]
    assert response_budget._reserved == 0


def test_a_page_of_schedules_waits_for_room_as_other_large_answers_do(api: Client) -> None:
    schedule("large", data={"text": "x" * SMALL_BYTES})
    other = response_budget.reserve(BUDGET_BYTES)
    assert api.get(AT).status_code == 503
    other.close()
    assert api.get(AT).status_code == 200
