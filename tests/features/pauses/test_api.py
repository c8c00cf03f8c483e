"""`POST /api/handlers/{type}/pause` and `.../resume`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from tasks_app import conf
from tasks_app.api import waiting
from tasks_app.api.waiting import VARIABLE, Condition, ConditionWait, Deferred, Places
from tasks_app.audit import AuditEntry
from tasks_app.features.pauses import api as calls
from tasks_app.features.pauses.verbs import has_settled
from tasks_app.metrics import system_reading
from tasks_app.queue.node_models import HandlerPause
from testkit.clients import post
from testkit.rows import node, pool
from tests.queue.moves.kit import submitted, take

pytestmark = [pytest.mark.database, pytest.mark.django_db]

SETTLED = Condition("pause", "echo", has_settled, calls.paused_object)
PAUSE, RESUME = "/api/handlers/echo/pause", "/api/handlers/echo/resume"


def test_the_answer_is_the_handler_with_its_pause_and_so_are_later_ones(api: Client) -> None:
    assert api.get("/api/handlers/echo").json()["paused"] is None
    answer = post(api, PAUSE)
    assert answer.status_code == 200
    said = answer.json()
    assert (said["type"], said["paused"]["by"], said["paused"]["until"]) == ("echo", "(no API key)", None)
    assert datetime.fromisoformat(said["paused"]["since"]) == HandlerPause.objects.get().paused_at
    assert api.get("/api/handlers/echo").json()["paused"] == said["paused"]
    listed = {each["type"]: each["paused"] for each in api.get("/api/handlers").json()}
    assert listed == dict.fromkeys(listed) | {"echo": said["paused"]}


def test_resume_answers_the_handler_without_a_pause_twice(api: Client) -> None:
    post(api, PAUSE)
    for _ in range(2):
        answer = post(api, RESUME)
        assert (answer.status_code, answer.json()["type"], answer.json()["paused"]) == (200, "echo", None)
    assert api.get("/api/handlers/echo").json()["paused"] is None
    assert [(each.action, each.target) for each in AuditEntry.objects.order_by("pk")] == [
        ("pause", "echo"), ("resume", "echo")
    ]  # fmt: skip


def test_a_pause_may_last_for_seconds_or_until_a_moment(api: Client) -> None:
    post(api, PAUSE, '{"for": 90}')
    assert timedelta(seconds=80) < HandlerPause.objects.get().until - datetime.now(UTC) < timedelta(seconds=91)  # type: ignore[operator]
    said = post(api, PAUSE, '{"until": "2100-01-31T10:00:00+01:00"}').json()
    assert said["paused"]["until"] == "2100-01-31T09:00:00.000000Z"
    assert post(api, PAUSE, '{"until": null, "for": null}').json()["paused"]["until"] is None


def test_a_pause_has_a_reason_which_the_handler_why_and_health_repeat(api: Client) -> None:
    node("one", pools={"echo": pool(2, 2)})
    [task] = submitted(50)
    assert post(api, PAUSE, '{"reason": " a bad\\n model "}').json()["paused"]["reason"] == "a bad model"
    assert post(api, PAUSE, "null").json()["paused"]["reason"] == "a bad model"
    [reason] = api.get(f"/api/tasks/{task}/why").json()["reasons"]
    assert reason["given_reason"] == "a bad model" and reason["sentence"].endswith(" UTC (a bad model)")
    assert " (a bad model); 1 task waits" in api.get("/health").content.decode()
    assert AuditEntry.objects.get().details == {"until": None, "reason": "a bad model"}
    assert post(api, PAUSE, '{"reason": ""}').json()["paused"]["reason"] is None


def test_the_slash_at_the_end_and_any_content_type_make_no_difference(api: Client) -> None:
    assert api.post(f"{PAUSE}/", "{}", content_type="application/x-www-form-urlencoded").status_code == 200
    assert api.post(f"{RESUME}/").json()["paused"] is None


def test_a_pause_may_be_shorter_than_it_takes_to_write_it(api: Client) -> None:
    answer = post(api, PAUSE, '{"for": 5e-324}')
    assert (answer.status_code, answer.json()["paused"]) == (200, None)


@pytest.mark.parametrize(("body", "said"), [
    ('{"for": 0}', "for must be a number of seconds, more than 0 and at most 31,536,000, not 0"),
    ('{"for": -1}', "for must be"), ('{"for": true}', "not true"), ('{"for": "2h"}', 'not a string ("2h")'),
    ('{"for": 31536001}', "at most 31,536,000"), ('{"until": 5}', "did you mean for?"),
    ('{"until": "2100-01-31"}', "the offset is missing"), ('{"until": "soon"}', "until must be a time with an offset"),
    ('{"until": "2020-01-31T09:00:00Z"}', "until must be in the future: 2020-01-31 09:00:00 UTC has passed"),
    ('{"for": 5, "until": "2100-01-31T09:00:00Z"}', "until and for are both given"),
    ('{"reason": 5}', "reason must be a string of at most 200 characters, not 5"),
    (f'{{"reason": "{"x" * 201}"}}', "reason must be a string of at most 200 characters"),
    ('{"unitl": null}', 'did you mean "until"?'), ("[]", "the body must be a JSON object"), ("{", "malformed JSON"),
])  # fmt: skip
def test_a_bad_end_is_400_and_pauses_nothing(api: Client, body: str, said: str) -> None:
    answer = post(api, PAUSE, body)
    assert answer.status_code == 400 and said in answer.json()["error"], answer.json()
    assert not HandlerPause.objects.exists() and not AuditEntry.objects.exists()


def test_all_faults_of_a_body_are_named_at_once(api: Client) -> None:
    details = post(api, PAUSE, '{"until": 5, "for": 0, "x": 1}').json()["details"]
    assert [each["field"] for each in details] == ["x", "for", "until", "for"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_an_unknown_handler_is_404_and_the_good_ones_are_named(api: Client, verb: str) -> None:
    answer = post(api, f"/api/handlers/ecoh/{verb}")
    assert answer.status_code == 404
    assert (
        'handlers.toml has background, echo, normal, prime, resize, urgent; did you mean "echo"?'
        in (answer.json()["error"])
    )


def test_the_pause_of_a_type_that_handlers_toml_no_longer_has_can_be_ended(api: Client) -> None:
    HandlerPause.objects.create(handler="gone", paused_by="ada", paused_at=datetime.now(UTC))
    assert api.get("/api/handlers/gone").status_code == 404
    answer = post(api, "/api/handlers/gone/resume")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not HandlerPause.objects.exists()
    assert [(each.actor, each.action, each.target) for each in AuditEntry.objects.all()] == [
        ("(no API key)", "resume", "gone")
    ]
    assert post(api, "/api/handlers/gone/resume").status_code == 404


def test_a_pause_is_a_problem_of_a_healthy_system_and_a_number_in_the_metrics(api: Client) -> None:
    node("one", pools={"echo": pool(2, 2), "prime": pool(1, 1)})
    post(api, PAUSE, '{"until": "2100-01-31T09:00:00Z"}')
    submitted(50, 50)
    system_reading._last = None
    health = api.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "healthy")
    since = f"{HandlerPause.objects.get().paused_at:%Y-%m-%d %H:%M:%S} UTC"
    # The broker of this process may have met another test's empty tables.
    assert [each for each in health.json()["problems"] if not each.startswith("the broker ")] == [
        f"handler 'echo' is paused by (no API key) since {since}, until 2100-01-31 09:00:00 UTC; 2 tasks wait"
    ]
    metrics = api.get("/metrics").content.decode()
    assert 'handler_paused{handler="echo"} 1.0' in metrics and 'handler_paused{handler="prime"} 0.0' in metrics
    handlers = api.get("/api/metrics").json()["handlers"]
    assert (handlers["echo"]["paused"], handlers["prime"]["paused"]) == (True, False)


def test_only_a_request_that_asks_for_a_wait_is_told_what_is_busy(api: Client) -> None:
    node("one", pools={"echo": pool(2, 2)})
    [identity] = submitted(50)
    take(node="one")
    assert "busy" not in post(api, PAUSE).json()
    answer = post(api, f"{PAUSE}?wait=0")
    assert answer.headers["Preference-Applied"] == "wait=0"
    assert answer.json()["busy"] == [{"node": "one", "tasks": [str(identity)]}]
    assert answer.json()["paused"]["by"] == "(no API key)"
    assert post(api, f"{PAUSE}?wait=61").status_code == 400


def test_a_wait_for_a_pause_takes_a_place_unless_nothing_is_busy(api: Client) -> None:
    deferred = Deferred(Places(1), Places(1))
    api.defaults[VARIABLE] = deferred  # type: ignore[assignment]
    answer = post(api, f"{PAUSE}?wait=30")
    assert (answer.status_code, answer.json()["busy"], deferred.wait) == (200, [], None)
    deferred.release()
    node("one", pools={"echo": pool(2, 2)})
    assert post(api, f"{PAUSE}?wait=30").status_code == 200
    assert deferred.wait == ConditionWait(SETTLED, 30)
    [(_, first)] = waiting.answers([deferred.wait])
    assert json.loads(first.body)["busy"] == [{"node": "one", "tasks": []}]
    post(api, RESUME)
    refused = post(api, f"{PAUSE}?wait=30")  # the place is taken
    assert (refused.status_code, HandlerPause.objects.exists()) == (503, False)


def test_if_the_database_is_away_at_the_end_of_its_wait_the_answer_is_503(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(handler: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(calls, "busy_nodes", away)
    [(_, answer)] = waiting.answers([ConditionWait(SETTLED, 30)])
    assert (answer.status, dict(answer.headers)["retry-after"]) == (503, "2")


def test_if_a_reload_has_removed_the_handler_at_the_end_of_its_wait_the_answer_is_404(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conf, "handlers", lambda: {})
    [(_, answer)] = waiting.answers([ConditionWait(SETTLED, 30)])
    assert answer.status == 404 and json.loads(answer.body)["error"].startswith('"echo" was removed from handlers.toml')
