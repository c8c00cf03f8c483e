"""What a node makes of limits: which claims it sends, what it knows after one, when it asks again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from tasks_app.node.claimer import Claimer
from tasks_app.node.ready_types import TypesOnHold
from tasks_app.queue.current import store
from tasks_app.queue.due_work import StartLimit
from tasks_app.queue.settle import settle
from tests.features.limits.kit import limit, permits
from tests.features.toy.test_follows import statements_of
from tests.queue.moves.kit import AT_ONCE, submitted, success

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("notifications")]

TYPES = ("echo", "plain")


class Parts:
    """A claimer of a node that serves two types, and what it is made of."""

    def __init__(self, name: str = "node") -> None:
        self.marked: list[str] = []
        self.types = TypesOnHold(name, TYPES, self.marked.append)
        self.policies = dict.fromkeys(TYPES, AT_ONCE)
        self.claimer = Claimer(name, "fifo", self.types)

    def claim(self, most: int | None = None, **slots: int) -> Any:
        return self.claimer.take(slots, self.policies, most)


@pytest.fixture
def parts() -> Parts:
    parts = Parts()
    parts.types.read()
    return parts


def without_values(act: Callable[[], Any]) -> list[str]:
    """The statements that it sends; SQLite tells them with their values."""
    return [re.sub(r"'[^']*'|\b\d[\d.]*", "?", one) for one in statements_of(act)]


def test_a_claim_of_types_without_limits_sends_the_same_statements_beside_limited_types(parts: Parts) -> None:
    submitted(50, 50, 50, task_type="plain")
    parts.claim(plain=1)  # configures the session
    before = without_values(lambda: parts.claim(plain=1))
    limit("echo", max_running=1, rate="1/s")
    parts.types.read()
    assert parts.types.last.limits.keys() == {"echo"}
    assert without_values(lambda: parts.claim(plain=1)) == before
    assert len(before) == (2 if connection.vendor == "postgresql" else 6)


def test_a_node_knows_after_its_claim_what_it_left(parts: Parts) -> None:
    limit("echo", max_running=3)
    submitted(*[50] * 5)
    parts.types.read()
    assert parts.types.last.places == {"echo": 3}
    tasks = parts.claim(echo=2).tasks
    assert len(tasks) == 2 and parts.types.last.places == {"echo": 1}
    claim = parts.claim(echo=2)
    assert (len(claim.tasks), claim.asked, parts.types.last.places) == (1, {"echo": 1}, {"echo": 0})
    assert parts.claim(echo=1).asked == {"echo": 0}, "so it does not take it that no task is ready"


def test_a_place_that_a_node_gives_back_is_known_to_it_and_its_type_is_looked_at_again(parts: Parts) -> None:
    limit("echo", max_running=1)
    submitted(50, 50)
    parts.types.read()
    [task] = parts.claim(echo=1).tasks
    settle("node", [success(task)])
    parts.types.gave_back(["echo", "plain"])
    assert parts.types.last.places == {"echo": 1} and parts.marked == ["echo"]
    parts.types.gave_back(["echo"])
    assert parts.marked == ["echo"], "it had places"
    assert len(parts.claim(echo=5).tasks) == 1, "the claim decides"


def test_a_reading_that_is_older_than_a_claim_takes_nothing_back(parts: Parts) -> None:
    limit("echo", max_running=2)
    submitted(*[50] * 4)
    at, read = store().elapsed(), store().on_hold("node")
    parts.types.update(read, at)
    assert len(parts.claim(echo=2).tasks) == 2
    parts.types.update(read, at)
    assert parts.types.last.places == {"echo": 0}
    parts.types.update(read, store().elapsed())
    assert parts.types.last.places == {"echo": 2}


def test_a_type_that_has_got_a_limit_since_is_claimed_the_next_time(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(50, 50)
    limit("echo", max_running=1)
    monkeypatch.setattr(type(parts.types.last), "too_old", property(lambda reading: not reading.limits))
    if store().single_writer:  # there the reading is made within the transaction
        claim = parts.claim(echo=2)
        assert claim.tasks == [] and claim.asked == {"echo": 0}
    assert len(parts.claim(echo=2).tasks) == 1 and len(permits()) == 1


def test_a_rated_type_is_asked_for_one_task_and_then_not_before_its_time(parts: Parts) -> None:
    limit("echo", rate="6/m")
    submitted(50, 50)
    parts.types.read()
    assert parts.types.last.places == {"echo": 1} and parts.types.last.allowed_in() == {}
    assert len(parts.claim(echo=4).tasks) == 1
    assert 9.0 < parts.types.last.allowed_in()["echo"] <= 10.1
    other = Parts("other")
    other.types.read()
    assert 9.0 < other.types.last.allowed_in()["echo"] <= 10.1


@pytest.mark.skipif("not connection.vendor == 'postgresql'", reason="SQLite says it before it begins")
def test_a_rated_claim_waits_for_the_disk_and_others_do_not(parts: Parts) -> None:
    submitted(50, 50)
    submitted(50, 50, task_type="plain")
    limit("echo", rate="50/s")
    parts.types.read()
    parts.claim(plain=1)
    assert not any("synchronous_commit" in one for one in statements_of(lambda: parts.claim(plain=1)))
    assert "SET LOCAL synchronous_commit = on" in statements_of(lambda: parts.claim(echo=1))
    limit("echo", max_running=1)
    parts.types.read()
    assert not any("synchronous_commit" in one for one in statements_of(lambda: parts.claim(echo=1)))


@pytest.mark.skipif("connection.vendor == 'postgresql'", reason="by session there")
def test_a_rated_claim_waits_for_the_disk_of_sqlite_too(parts: Parts) -> None:
    submitted(50, 50)
    submitted(50, 50, task_type="plain")
    limit("echo", rate="50/s")
    parts.types.read()
    assert "PRAGMA synchronous = NORMAL" in statements_of(lambda: parts.claim(plain=1))
    assert "PRAGMA synchronous = NORMAL" not in statements_of(lambda: parts.claim(echo=1))


def test_limits_of_a_reading_are_what_they_were(parts: Parts) -> None:
    limit("echo", max_running=2, rate="1/s")
    limit("elsewhere", max_running=2)
    parts.types.read()
    assert parts.types.last.limits == {"echo": StartLimit(2, 0.0, True)}
    assert parts.types.last.places == {"echo": 1}
