"""`GET /api/tasks/{id}/why`: what is stored becomes facts. All reasons: test_decide.py; real failures: tests/system."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from tasks_app import conf
from tasks_app.features.why import facts as reading
from tasks_app.features.why.decide import decide
from tasks_app.features.why.facts import read_facts
from tasks_app.metrics import system_reading
from tasks_app.queue.cancel import cancel
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.node_models import Node
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit, submit_many
from tasks_app.runner.endings import OutcomeKind
from testkit.rows import node, pool
from tests.queue.moves.kit import NO_RETRY, SLOW_RETRY, failure, row, running, submitted, success, take

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def reasons(api: Client, identity: object) -> list[dict[str, Any]]:
    system_reading._last = None
    answer = api.get(f"/api/tasks/{identity}/why")
    assert answer.status_code == 200, answer.content
    return list(answer.json()["reasons"])


def words(api: Client, identity: object) -> list[str]:
    return [each["reason"] for each in reasons(api, identity)]


@pytest.mark.parametrize("identity", ["0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b", "one", "%00"])
def test_an_unknown_task_is_404(api: Client, identity: str) -> None:
    answer = api.get(f"/api/tasks/{identity}/why")
    assert (answer.status_code, answer.json()["error"]) == (404, "Task not found")


def test_a_task_that_waits_for_its_time_says_when(api: Client) -> None:
    [one] = submit_many([NewTask("echo", options=TaskOptions(delay=60.0))])
    [reason] = reasons(api, one)
    assert reason["reason"] == "scheduled" and 55 < reason["seconds"] <= 60
    assert datetime.fromisoformat(reason["due_at"]) == row(one).due_at
    Task.objects.update(due_at=timezone.now() + timedelta(seconds=30), clock="an earlier boot")
    [reason] = reasons(api, one)
    assert 25 < reason["seconds"] <= 30


def test_a_retry_has_its_time_and_the_last_error(api: Client) -> None:
    one = running(SLOW_RETRY)
    settle("node", [failure(one)])
    [reason] = reasons(api, one.id)
    assert reason["sentence"].startswith("attempt 1 failed (it broke); it is tried again in ")
    assert reason["sentence"].endswith(" (retry 1 of 3)")
    assert datetime.fromisoformat(reason["due_at"]) == row(one).due_at
    seconds = reason.pop("seconds")
    assert 0 <= seconds <= 60
    assert {name: reason[name] for name in ("attempt", "retries", "max_retries", "last_error")} == {
        "attempt": 1,
        "retries": 1,
        "max_retries": 3,
        "last_error": "it broke",
    }


def test_without_a_worker_that_serves_it_a_task_says_so(api: Client) -> None:
    one = submit("echo")
    assert reasons(api, one) == [{"reason": "no_node", "sentence": "no worker lives", "workers": 0}]
    node("one", pools={"prime": pool(2, 2)})
    assert reasons(api, one)[0]["sentence"] == "the only worker does not serve its type"
    node("two", pools={"echo": pool(2, 2)}, draining=True)
    assert reasons(api, one)[0]["sentence"] == "the only workers that serve its type are stopping"


def test_a_worker_s_problem_is_quoted_and_its_good_slots_are_counted(api: Client) -> None:
    node("one", pools={"echo": pool(2, 0, "there is no image x")})
    one = submit("echo")
    assert reasons(api, one) == [
        {
            "reason": "cannot_start",
            "sentence": "its containers cannot start: there is no image x",
            "problems": ["there is no image x"],
            "slots": 2,
            "warm": 0,
        }
    ]
    node("two", pools={"echo": pool(1, 1)})
    assert words(api, one) == ["cannot_start", "ready"]
    take(node="two")
    assert words(api, submit("echo")) == ["cannot_start", "behind"]


def test_a_task_has_the_place_of_its_order(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    node("one", pools={"echo": pool(1, 1)})
    ids = submitted(10, 90, 50, 50)
    take(node="one", order="fifo")  # the first one
    places = {}
    for order in ("fifo", "lifo", "priority"):
        environment = conf.environment().model_copy(update={"task_selection": order})
        monkeypatch.setattr(conf, "environment", lambda environment=environment: environment)
        places[order] = [reasons(api, one)[0]["place"] for one in ids[1:]]
    assert places == {"fifo": [1, 2, 3], "lifo": [3, 2, 1], "priority": [1, 2, 3]}


def test_beyond_its_limit_a_place_is_not_counted(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    node("one", pools={"echo": pool(1, 1)})
    ids = submitted(*[50] * 14)
    take(node="one")
    for function in (read_facts, decide):
        monkeypatch.setattr(sys.modules[function.__module__], "MAX_BEFORE", 10)
    assert [reasons(api, one)[0]["place"] for one in ids[10:]] == [10, 11, None, None]
    assert "more than 10 tasks are before it" in reasons(api, ids[12])[0]["sentence"]


def test_an_estimate_is_of_the_attempts_of_its_type(api: Client) -> None:
    node("one", pools={"echo": pool(2, 2)})
    submitted(*[50] * 12)
    submitted(*[50] * 3, task_type="prime")
    settle("node", [success(task) for task in [*take(12), *take(3, task_type="prime")]])
    Attempt.objects.update(started_at=Now() - timedelta(seconds=5), ended_at=Now() - timedelta(seconds=1))
    Attempt.objects.filter(task__task_type="prime").update(started_at=Now() - timedelta(hours=5))
    ids = submitted(*[50] * 7)
    take(2, node="one")
    [reason] = reasons(api, ids[6])
    assert (reason["place"], reason["slots"], reason["busy"]) == (5, 2, 2)
    assert reason["estimate_from"] == "the last 12 attempts of this type took 4.0 s on average; 2 slots"
    assert 10.5 < reason["estimate_seconds"] <= 11.1


def test_a_cap_is_read_from_the_row_of_the_worker(api: Client) -> None:
    node("one", pools={"echo": {**pool(2, 2), "cap": 2}, "prime": {**pool(2, 2), "cap": 2}})
    submitted(50, task_type="prime")
    one = submitted(50, 50)[1]
    take(node="one", task_type="prime")
    assert words(api, one) == ["behind"]
    take(node="one")
    found = reasons(api, one)
    assert [each["reason"] for each in found] == ["cap", "behind"]
    assert (found[0]["cap"], found[0]["running"]) == (2, 2)


def test_a_running_task_says_for_how_long_and_a_lost_one_that_its_worker_ended(api: Client) -> None:
    node("one", pools={"echo": pool(2, 2)})
    one = running(node="one")
    [reason] = reasons(api, one.id)
    assert reason["sentence"].endswith(" of at most 5.0 s on worker one")
    assert (reason["attempt"], reason["node"], reason["timeout"]) == (1, "one", 5.0)
    assert datetime.fromisoformat(reason["started_at"]) == row(one).started_at
    Node.objects.update(seen_at=Now() - timedelta(seconds=300), seen=0.0)
    lost, still = reasons(api, one.id)
    assert (lost["reason"], still["reason"]) == ("lost", "running")
    assert lost["sentence"] == "its worker one has been silent for 5 min; no other worker lives to take the task over"
    Node.objects.update(stopped_at=Now())
    assert reasons(api, one.id)[0]["silent_seconds"] is None


def test_a_task_that_has_ended_says_how(api: Client) -> None:
    done, broken = running(), running(NO_RETRY)
    settle("node", [success(done), failure(broken, OutcomeKind.CRASH)])
    cancelled = submit("echo")
    assert cancel(cancelled)
    found = {one: reasons(api, one)[0] for one in (done.id, broken.id, cancelled)}
    assert all(each["reason"] == "final" for each in found.values())
    assert found[done.id]["sentence"].startswith("it completed with attempt 1, which took ")
    assert (found[done.id]["status"], found[done.id]["failure_reason"]) == ("completed", None)
    assert found[broken.id]["sentence"] == "it failed with attempt 1: its container ended before it replied (it broke)"
    assert found[broken.id]["failure_reason"] == "crash"
    assert found[cancelled]["sentence"] == "it failed: it was cancelled"
    assert datetime.fromisoformat(found[cancelled]["completed_at"]) == row(cancelled).completed_at


def test_only_few_attempts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    node("one", pools={"echo": pool(1, 1)})
    submitted(*[50] * 8)
    settle("node", [success(task) for task in take(6)])
    monkeypatch.setattr(reading, "MAX_ATTEMPTS_USED", 4)
    waits = UUID(str(Task.objects.ready().values_list("pk", flat=True)[0]))
    facts = read_facts(waits)
    assert facts is not None and len(facts.ended) == 4
    monkeypatch.setattr(reading, "MAX_ATTEMPTS_READ", 3)
    facts = read_facts(waits)
    assert facts is not None and len(facts.ended) == 3
