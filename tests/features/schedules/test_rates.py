"""The rate of an API key binds its runs of schedules, and the schedules that it put last."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from tasks_app import conf
from tasks_app.api import admission
from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.models import Schedule, Source
from tasks_app.features.schedules.verbs import write
from tasks_app.keys import caller, rate
from tasks_app.keys.api_keys import ApiKey, revoke
from tasks_app.keys.rate import TokenBucket
from tasks_app.queue.current import writing
from tasks_app.queue.models import Task
from tests.features.schedules.kit import schedule
from tests.keys.rows import Holder

pytestmark = [pytest.mark.database, pytest.mark.django_db]

AT = "/api/schedules"


@pytest.fixture(autouse=True)
def clock(own_key_rates: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token accrues."""
    monkeypatch.setattr(rate, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setattr(caller, "MAX_READING_AGE_SECONDS", 3600.0)


def put(holder: Holder, name: str, **given: Any) -> Any:
    return holder.ask("PUT", f"{AT}/{name}", json.dumps({"type": "echo", **given}))


def bound() -> set[str]:
    """The schedules that a key's rate binds."""
    return set(Schedule.objects.exclude(rate_key=None).values_list("pk", flat=True))


def test_runs_count_against_the_keys_rate_beside_posts() -> None:
    schedule("report")
    holder = Holder(rate=2.0)
    answers = [holder.ask("POST", f"{AT}/report/run"), holder.ask("POST", "/queue", '{"type": "echo"}')]
    answers += [holder.ask("POST", f"{AT}/report/run"), holder.ask("POST", "/queue", '{"type": "echo"}')]
    assert [each.status_code for each in answers] == [200, 200, 429, 429]
    assert [each.headers["RateLimit"] for each in answers[:3]] == ['"key";r=1;t=1', '"key";r=0;t=1', '"key";r=0;t=1']
    assert answers[2].headers["RateLimit-Policy"] == '"key";q=2;w=1;qu="tasks"'
    assert answers[2].headers["Retry-After"] == "1"
    assert "at most 2 a second are accepted with this API key" in answers[2].json()["error"]
    assert Task.objects.count() == 2


def test_runs_count_against_the_deployments_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule("report")
    holder = Holder(rate=1.0)
    monkeypatch.setattr(admission, "token_bucket", TokenBucket())
    env = conf.environment().model_copy(update={"max_rate": 1.0})
    monkeypatch.setattr(conf, "environment", lambda: env)
    others = Holder("others")
    assert [others.ask("POST", f"{AT}/report/run").status_code for _ in range(2)] == [200, 429]
    refused = holder.ask("POST", f"{AT}/report/run")
    assert (refused.status_code, refused.headers["RateLimit"]) == (429, '"key";r=1;t=0')
    assert "RateLimit" not in others.ask("POST", f"{AT}/report/run").headers


def test_a_run_that_is_refused_takes_nothing_and_a_repeated_one_counts() -> None:
    schedule("gone", type="gone")
    schedule("report")
    holder = Holder(rate=2.0)
    assert holder.ask("POST", f"{AT}/nothing/run").status_code == 404
    assert holder.ask("POST", f"{AT}/gone/run").status_code == 409
    first, second, third = (holder.ask("POST", f"{AT}/report/run", idempotency_key="once") for _ in range(3))
    assert first.json() == second.json()
    assert [each.headers["RateLimit"] for each in (first, second)] == ['"key";r=1;t=1', '"key";r=0;t=1']
    assert third.status_code == 429 and Task.objects.count() == 1


def test_the_schedules_that_a_key_put_last_may_not_exceed_its_rate_together() -> None:
    holder = Holder(rate=1.5)
    assert put(holder, "a", every="1s").status_code == 201
    assert put(holder, "b", every="2s").status_code == 201
    refused = put(holder, "c", cron="* * * * *")
    assert refused.status_code == 409
    said = refused.json()["error"]
    assert '"c"' in said and "could make 1.516666667 tasks a second" in said and "rate is 1.5:" in said
    assert not Schedule.objects.filter(pk="c").exists()
    assert put(holder, "b", every="1s").status_code == 409
    assert Schedule.objects.get(pk="b").definition["every"] == "2s"
    assert put(holder, "b", every="3s").status_code == 200
    assert put(holder, "c", cron="* * * * *").status_code == 201
    assert holder.ask("DELETE", f"{AT}/a").status_code == 204
    assert put(holder, "d", every="1s").status_code == 201


def test_what_a_disabled_schedule_would_make_does_not_count_and_what_a_paused_one_would_does() -> None:
    holder = Holder(rate=1.0)
    assert put(holder, "a", every="1s").status_code == 201
    assert put(holder, "b", every="1s", enabled=False).status_code == 201
    assert put(holder, "b", every="1s").status_code == 409
    assert holder.ask("POST", f"{AT}/a/pause").status_code == 200
    assert put(holder, "b", every="1s").status_code == 409
    assert holder.ask("POST", f"{AT}/a/resume").status_code == 200
    ApiKey.objects.update(rate=0.5)
    assert put(holder, "a", every="1s", enabled=False).status_code == 200, "there is a way back"
    assert put(holder, "b", every="2s").status_code == 200


def test_no_rate_binds_what_others_put_last() -> None:
    holder, free = Holder(rate=1.0), Holder("free")
    assert put(holder, "a", every="1s").status_code == 201
    assert bound() == {"a"}
    assert put(free, "a", every="1s").status_code == 200
    assert put(free, "b", every="1s").status_code == 201
    schedule("c", every="1s")
    with writing():
        write("d", Definition.of({"type": "echo", "every": "1s"}), Source.FILE, "node")
    assert bound() == set()
    assert put(holder, "e", every="1s").status_code == 201
    taken_over = put(holder, "a", every="1s")
    assert (taken_over.status_code, bound()) == (409, {"e"}), "also if nothing else changes"
    assert put(holder, "e", every="1s", enabled=False).status_code == 200
    assert (put(holder, "a", every="1s").json()["revision"], bound()) == (1, {"a", "e"})
    schedule("a", every="1s", priority=9)
    assert bound() == {"e"}


def test_each_key_has_its_own_schedules_and_they_outlive_it() -> None:
    one, two = Holder("one", rate=1.0), Holder("two", rate=1.0)
    assert put(one, "a", every="1s").status_code == put(two, "b", every="1s").status_code == 201
    assert put(one, "c", every="1s").status_code == put(two, "c", every="1s").status_code == 409
    revoke("one")
    row = Schedule.objects.get(pk="a")
    assert row.next_at is not None and row.rate_key is not None
    assert put(two, "a", every="1s").status_code == 409


def test_without_keys_no_rate_binds(api: Client) -> None:
    assert api.put(f"{AT}/a", '{"type": "echo", "every": "1s"}', content_type="application/json").status_code == 201
    assert bound() == set()
