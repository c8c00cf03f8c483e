"""What /metrics and /health say of callbacks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from tasks_app.features.callbacks import metrics
from tasks_app.features.callbacks.metrics import FAILING_TRIES, LATE_SECONDS, MAX_HOSTS, _Failing, problems, waiting
from tasks_app.features.callbacks.models import State
from tasks_app.queue.current import store, writing
from tests.features.callbacks.rows import delivery
from tests.metrics.samples import samples, value

pytestmark = [pytest.mark.database, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(metrics, "_failing", _Failing())


def test_what_waits_is_counted_and_how_late_the_first_is() -> None:
    assert waiting() == (0, 0.0)
    delivery(due_in=-50.0), delivery(due_in=50.0), delivery(State.DELIVERED), delivery(State.FAILED)
    found = waiting()
    assert found.pending == 2 and found.late >= 50.0


def test_metrics_have_tries_by_outcome_and_what_waits(api: Client) -> None:
    with writing():
        store().add_counts({"callback_tries|delivered": 3, "callback_tries|again": 2})
    delivery(due_in=50.0)
    found = samples(api.get("/metrics").content)
    assert [value(found, "callback_tries_total", outcome=word) for word in ("delivered", "again", "failed")] == [
        3,
        2,
        0,
    ]
    assert (value(found, "callbacks_pending"), value(found, "callbacks_late_seconds")) == (1, 0)


def test_nothing_is_wrong_while_callbacks_are_sent_in_time() -> None:
    delivery(due_in=-LATE_SECONDS / 2), delivery(tries=FAILING_TRIES - 1), delivery(State.FAILED, tries=8)
    assert problems() == []


def test_health_says_that_no_worker_sends(api: Client) -> None:
    delivery(due_in=-600.0)
    [said] = problems()
    assert said == "callbacks are not sent: one has been due for 10 min, and no worker sends any"
    assert said in api.get("/health").json()["problems"]


def test_health_says_that_a_receiver_is_slow_if_others_are_sent() -> None:
    delivery(due_in=-600.0, host="slow.example:443")
    delivery(due_in=15.0, sender="node-1", host="slow.example:443")
    [said] = problems()
    assert said.startswith("callbacks to slow.example:443 wait: one has been due for 10 min.")


def test_health_says_how_the_last_tries_failed_by_kind_and_not_that_the_receiver_is_slow() -> None:
    now, host = store().moment()[1], "dead.example:443"
    delivery(due_in=-1200.0, host=host), delivery(due_in=15.0, sender="node-1", host=host)
    kinds = {
        "no connection (Connection refused)": 4, "no answer within 15 s": 3, "answered 503": 2,
        "its name has no address": 1,
    }  # fmt: skip
    for kind, count in kinds.items():
        for _ in range(count):
            delivery(due_in=300.0, host=host, tries=1, last_error=kind, last_try_at=now)
    delivery(due_in=300.0, host=host, tries=2, last_error="old", last_try_at=now - timedelta(hours=1))
    delivery(due_in=300.0, host="other.example:443", tries=1, last_error="another's", last_try_at=now)
    [said] = problems()
    assert said == (
        f"callbacks to {host} wait: one has been due for 20 min. Their last tries failed: "
        "4 no connection (Connection refused), 3 no answer within 15 s, 2 answered 503, 1 otherwise"
    )


def test_health_names_hosts_whose_callbacks_fail_for_long() -> None:
    hour_ago = store().moment()[1] - timedelta(hours=3)
    for why in ("no connection (Connection refused)", "answered 503"):
        delivery(tries=FAILING_TRIES, host="dead.example:443", created_at=hour_ago, last_error=why)
    delivery(tries=FAILING_TRIES + 1, host="\x1b[2Jgone.example:80", created_at=hour_ago)
    first, second = problems()
    said = "2 callbacks to dead.example:443 fail time and again, for 3 h now: "
    assert first.startswith(said) and {*first.removeprefix(said).split(", ")} == {
        "1 no connection (Connection refused)",
        "1 answered 503",
    }
    assert second.startswith("1 callback to ") and "\x1b" not in second and "fails time and again" in second


def test_of_many_hosts_the_worst_are_named() -> None:
    for number in range(MAX_HOSTS + 3):
        delivery(tries=FAILING_TRIES, host=f"host-{number}.example:443")
    said = problems()
    assert len(said) == MAX_HOSTS + 1 and said[-1] == "callbacks to 3 more hosts fail"


def test_what_fails_is_not_looked_for_with_each_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LOOK_SECONDS", 3600.0)
    failing = _Failing()
    assert failing.sentences() == []
    delivery(tries=FAILING_TRIES)
    assert failing.sentences() == []
