"""`GET /api/handlers`: what handlers.toml has, and what runs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client

from tasks_app import conf
from tasks_app.metrics import reading
from tasks_app.queue.models import Attempt
from tasks_app.queue.node_models import Node
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from testkit.rows import node, pool, web
from tests.queue.moves.kit import failure, release, submitted, success, take

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def test_a_handler_says_which_revision_each_process_uses_that_has_to_do_with_it(api: Client) -> None:
    used = {"revision": "3f2a9c41b07e", "digest": "0" * 64, "reload": 0, "later_field": 1}
    node("serves", pools={"prime": pool(1, 1)}, revision=used, revision_at=Now())
    node("earlier", pools={"prime": pool(1, 1)})
    node("other", pools={"echo": pool(1, 1)}, revision=used)
    web("host:1", "1" * 64, fault="handlers.toml:3: is wrong")
    said = api.get("/api/handlers/prime").json()["revisions"]
    assert [(each["kind"], each["process"], each["revision"], bool(each["since"])) for each in said] == [
        ("node", "earlier", None, False), ("node", "serves", "3f2a9c41b07e", True), ("web", "host:1", "1" * 12, True)
    ]  # fmt: skip
    assert [each["problem"] for each in said] == [
        None,
        None,
        "handlers.toml:3: is wrong",
    ]


def test_every_handler_of_the_file_is_listed_in_its_order(api: Client) -> None:
    found = api.get("/api/handlers").json()
    assert [each["type"] for each in found] == list(conf.handlers())
    prime = conf.handlers()["prime"]
    (one,) = [each for each in found if each["type"] == "prime"]
    assert one == {
        "type": "prime",
        "description": prime.description,
        "limits": {
            "timeout": prime.timeout, "timeout_limit": prime.timeout, "start_timeout": 30.0,
            "stop_grace": prime.stop_grace, "max_retries": prime.max_retries, "retries_limit": prime.max_retries,
            "retry_backoff": prime.retry_backoff,
            "retry_on": ["error", "timeout", "crash"], "instances": prime.instances, "memory_limit": None, "cpus": None,
        },
        "slots": {"busy": 0, "warm": 0, "all": 0},
        "paused": None,
        "drained_on": [],
        "problem": "no worker lives",
        "notice": None,
        "rates": {"seconds": 300.0, "succeeded": 0.0, "failed": 0.0},
        "revisions": [],
    }  # fmt: skip
    assert api.get("/api/handlers/prime").json() == one


def test_slots_are_summed_over_living_nodes_that_do_not_drain(api: Client) -> None:
    node("one", pools={"echo": pool(2, 2), "prime": pool(2, 1, "there is no image")})
    node("two", pools={"echo": pool(4, 1)})
    node("three", pools={"echo": pool(8, 8)}, draining=True)
    submitted(50)
    take(node="one")
    echo, prime = (api.get(f"/api/handlers/{name}").json() for name in ("echo", "prime"))
    assert (echo["slots"], echo["problem"]) == ({"busy": 1, "warm": 3, "all": 6}, None)
    assert (prime["slots"], prime["problem"]) == ({"busy": 0, "warm": 1, "all": 2}, "there is no image")
    assert api.get("/api/handlers/resize").json()["problem"] == "no living worker serves it"


def test_what_makes_a_handler_slow_without_a_failure_is_its_notice(api: Client) -> None:
    node("one", pools={"echo": pool(2, 2) | {"notice": "it has one task a container"}, "prime": pool(2, 2)})
    node("two", pools={"echo": pool(4, 1) | {"notice": "it has one task a container"}})
    echo, prime = (api.get(f"/api/handlers/{name}").json() for name in ("echo", "prime"))
    assert (echo["notice"], echo["problem"]) == ("it has one task a container", None)
    assert prime["notice"] is None


def test_a_handler_that_only_drained_nodes_serve_has_that_problem(api: Client) -> None:
    node("one", pools={"echo": pool(2, 2)})
    Node.objects.update(drain_requested_at=Now(), drain_requested_by="alice")
    found = api.get("/api/handlers/echo").json()
    assert (found["slots"]["all"], found["problem"]) == (0, "all living workers that serve it drain")


@pytest.mark.parametrize("name", ["prme", "%00", "%ff", "a" * 5000, "PRIME", "' OR 1=1"])
def test_an_unknown_handler_is_404_and_the_good_ones_are_named(api: Client, name: str) -> None:
    answer = api.get(f"/api/handlers/{name}")
    assert answer.status_code == 404
    said = answer.json()["error"]
    assert "handlers.toml has background, echo, normal, prime, resize, urgent" in said
    assert ('did you mean "prime"?' in said) == (name in ("prme", "PRIME"))


def test_rates_are_of_attempts_that_ended_in_the_last_five_minutes(api: Client) -> None:
    submitted(*[50] * 6)
    ok, late, wrong, released, *_ = take(6)
    settle("node", [success(ok), success(late), failure(wrong, OutcomeKind.CRASH)])
    release("node", [released], "it stopped")
    Attempt.objects.filter(task_id=late.id).update(ended_at=Now() - timedelta(seconds=301))
    found = api.get("/api/handlers/echo").json()["rates"]
    assert found == {"seconds": 300.0, "succeeded": round(1 / 300, 6), "failed": round(1 / 300, 6)}
    assert api.get("/api/handlers/prime").json()["rates"]["succeeded"] == 0


def test_rates_look_back_less_far_rather_than_read_more_attempts(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(*[50] * 4)
    for task in take(4):
        settle("node", [success(task)])
    keys = list(Attempt.objects.order_by("pk").values_list("pk", flat=True))
    for n, key in enumerate(keys):
        Attempt.objects.filter(pk=key).update(ended_at=Now() - timedelta(seconds=100 - 10 * n))
    monkeypatch.setattr(reading, "MAX_ATTEMPTS_READ", keys[3] - keys[1])
    found = reading.recent_rates()
    assert found.succeeded == {"echo": 2}
    assert 89 <= found.seconds <= 100
