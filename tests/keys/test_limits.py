"""A key ends at its time, and posts no faster than its rate."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tasks_app import conf
from tasks_app.api import admission
from tasks_app.keys import caller
from tasks_app.keys import rate as token_bucket
from tasks_app.keys.api_keys import ApiKey, Grant, KeyRefused, create
from tasks_app.keys.rate import KeyRate, TokenBucket
from tasks_app.queue.models import Task
from tests.keys.rows import Clock, Holder

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ECHO = '{"type": "echo"}'


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(token_bucket, "time", clock)
    return clock


def rates_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a web server: the keys are read once."""
    monkeypatch.setattr(caller, "MAX_READING_AGE_SECONDS", 3600.0)


def test_an_expired_key_is_401_that_says_so() -> None:
    holder = Holder(expires_at=timezone.now() + timedelta(hours=1))
    assert holder.ask("GET", "/api/tasks").status_code == 200
    ApiKey.objects.update(expires_at=datetime(2026, 1, 31, 9, tzinfo=UTC))
    for method, path, body in (("GET", "/api/tasks", None), ("POST", "/queue", ECHO), ("GET", "/metrics", None)):
        refused = holder.ask(method, path, body)
        assert (refused.status_code, refused.json()["error"]) == (401, "this API key expired at 2026-01-31T09:00:00Z")
        assert refused["WWW-Authenticate"] == 'Bearer realm="tasks", error="invalid_token"'


def test_a_key_ends_without_a_new_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    rates_kept(monkeypatch)
    holder = Holder(expires_at=timezone.now() + timedelta(hours=1))
    assert holder.ask("GET", "/api/tasks").status_code == 200
    ((_, _, stored),) = next(iter(caller.keys.current().in_force.values()))
    object.__setattr__(stored, "expires_at", timezone.now())
    assert holder.ask("GET", "/api/tasks").status_code == 401


def test_who_has_only_the_beginning_of_an_expired_key_is_not_told_that_it_expired() -> None:
    holder = Holder(expires_at=timezone.now() + timedelta(hours=1))
    ApiKey.objects.update(expires_at=timezone.now())
    text = holder.headers["authorization"]
    for wrong in (text[:-1], text[:-1] + "~", text[:20]):
        refused = holder.client.get("/api/tasks", headers={"authorization": wrong})
        assert refused.json()["error"] == "this API key is unknown or revoked"


def test_the_use_of_an_expired_key_is_not_recorded() -> None:
    holder = Holder(expires_at=timezone.now() + timedelta(hours=1))
    ApiKey.objects.update(expires_at=timezone.now())
    holder.ask("GET", "/api/tasks")
    caller.keys.write_uses()
    assert ApiKey.objects.get().last_used_at is None


def told(answer: Any) -> tuple[int, int]:
    """`r` and `t` of an answer."""
    found = re.fullmatch(r'"key";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert found, answer.headers
    return int(found[1]), int(found[2])


def test_a_key_posts_no_faster_than_its_rate(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    rates_kept(monkeypatch)
    holder = Holder(rate=2.0)
    answers = [holder.ask("POST", "/queue", ECHO) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert [told(each) for each in answers] == [(1, 1), (0, 1), (0, 1)]
    assert {each.headers["RateLimit-Policy"] for each in answers} == {'"key";q=2;w=1;qu="tasks"'}
    assert "at most 2 a second are accepted with this API key" in answers[2].json()["error"]
    assert answers[2].headers["Retry-After"] == "1"
    clock.now += 0.5
    assert holder.ask("POST", "/queue", ECHO).status_code == 200
    assert Task.objects.count() == 3
    assert holder.ask("GET", "/api/tasks").status_code == 200


def test_a_batch_counts_each_of_its_tasks(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    rates_kept(monkeypatch)
    holder = Holder(rate=0.5)
    batch = holder.ask("POST", "/queue/batch", json.dumps({"tasks": [{"type": "echo"}] * 11}))
    assert (batch.status_code, told(batch)) == (200, (0, 22))
    refused = holder.ask("POST", "/queue", ECHO)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "22")
    assert refused.headers["RateLimit-Policy"] == '"key";q=1;w=2;qu="tasks"'
    clock.now += 21.9
    assert holder.ask("POST", "/queue", ECHO).status_code == 429
    clock.now += 0.2
    assert holder.ask("POST", "/queue", ECHO).status_code == 200


def test_refused_posts_have_the_headers_and_take_nothing(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    rates_kept(monkeypatch)
    holder = Holder(rate=5.0, types=["echo"])
    for body in ("{", '{"type": "prime"}', '{"type": "nothing"}'):
        refused = holder.ask("POST", "/queue", body)
        assert (refused.status_code in (400, 403), told(refused)) == (True, (5, 0))


def test_one_keys_rate_takes_nothing_from_others(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    rates_kept(monkeypatch)
    slow, other, plain = Holder("slow", rate=1.0), Holder("other", rate=1.0), Holder("plain")
    monkeypatch.setattr(admission, "token_bucket", TokenBucket())
    env = conf.environment().model_copy(update={"max_rate": 4.0})
    monkeypatch.setattr(conf, "environment", lambda: env)
    assert [slow.ask("POST", "/queue", ECHO).status_code for _ in range(8)] == [200] + [429] * 7
    assert [plain.ask("POST", "/queue", ECHO).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = other.ask("POST", "/queue", ECHO)
    assert refused.status_code == 429
    assert told(refused) == (1, 0), "the limit of all callers took nothing from the key's"
    assert "RateLimit" not in plain.ask("POST", "/queue", ECHO).headers


def test_a_rate_outlives_the_readings_of_the_keys(clock: Clock) -> None:
    holder = Holder(rate=1.0)
    assert [holder.ask("POST", "/queue", ECHO).status_code for _ in range(2)] == [200, 429]
    ApiKey.objects.update(rate=3.0)
    clock.now += 1
    assert [holder.ask("POST", "/queue", ECHO).status_code for _ in range(4)] == [200] * 3 + [429]


@pytest.mark.parametrize(
    ("rate", "policy"),
    [(0.001, "q=1;w=1000"), (0.5, "q=1;w=2"), (1.0, "q=1;w=1"), (2.5, "q=5;w=2"), (1e6, "q=1000000;w=1")],
)
def test_a_rate_is_told_in_whole_numbers(rate: float, policy: str) -> None:
    assert KeyRate(rate, TokenBucket()).headers()["RateLimit-Policy"] == f'"key";{policy};qu="tasks"'


@pytest.mark.parametrize(
    "grant",
    [
        Grant(scopes=[]), Grant(scopes=["tasks:READ"]), Grant(scopes=["*"]), Grant(types=[]), Grant(types=["a b"]),
        Grant(types=["x" * 101]), Grant(types=["a"] * 101), Grant(types=["a\n"]), Grant(rate=0.0), Grant(rate=-1.0),
        Grant(rate=float("nan")), Grant(rate=float("inf")), Grant(expires_at=datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_a_grant_that_no_key_can_have_is_refused(grant: Grant) -> None:
    with pytest.raises(KeyRefused):
        create("ci", grant)
    assert not ApiKey.objects.exists()
