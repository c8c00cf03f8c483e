"""A feature limits what a node may start: so many tasks of a type, and none before a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from django.db import connection

from tasks_app.node.claimer import Claim
from tasks_app.node.dispatcher import POLL_SECONDS
from tasks_app.node.ready_types import TypesOnHold
from tasks_app.queue.current import store
from tasks_app.queue.due_work import StartLimit
from tests.features.toy.install import installed
from tests.node.test_dispatcher import Parts

#: What a claim returns that other nodes' claims have left no place.
NOTHING_LEFT = Claim([], 0.0, asked={"echo": 0})

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _gates() -> Iterator[None]:
    with installed("tests.features.toy.gates.Gates"):
        yield


def gate(name: str, places: int | None = None, seconds: float | None = None) -> None:
    """Limit a type."""
    opens = None if seconds is None else store().seconds() + seconds
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO toy_gate VALUES (%s, %s, %s)", [name, places, opens])


def no_gates() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM toy_gate")


def test_a_beat_and_a_reading_of_its_own_have_the_limits() -> None:
    assert store().on_hold("node").limits == {}
    gate("echo", places=3)
    gate("resize", seconds=60.0)
    for read in (store().on_hold("node"), store().due_work("node").on_hold):
        assert read.limits["echo"] == StartLimit(3)
        assert read.limits["resize"].places is None and 50.0 < read.limits["resize"].seconds <= 60.0


def test_of_two_limits_of_a_type_the_narrower_one_holds() -> None:
    gate("echo", places=3, seconds=10.0)
    gate("echo", places=2)
    gate("echo", seconds=60.0)
    limit = store().on_hold("node").limits["echo"]
    assert limit.places == 2 and 50.0 < limit.seconds <= 60.0


def test_a_node_claims_nothing_without_places_and_looks_again_once_it_has_some() -> None:
    parts = Parts()
    gate("echo", places=0)
    parts.on_hold.read()
    parts.ready_types.mark("echo")
    parts.done.clear()
    parts.dispatcher.round()
    assert parts.done == []
    no_gates()
    parts.on_hold.read()
    assert parts.done == ["interrupt"], "the type is marked"
    parts.dispatcher.round()
    assert "claim {'echo': 1}" in parts.done


def test_a_node_that_polls_learns_of_places_that_another_one_has_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    gate("echo", places=0)
    parts.on_hold.read()
    parts.ready_types.mark("echo")
    parts.dispatcher.round()
    no_gates()
    parts.done.clear()
    later = time.monotonic() + POLL_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    parts.dispatcher.round()
    assert parts.done == ["poll", "interrupt", "claim {'echo': 1}"]


def test_what_a_claim_was_not_let_through_to_take_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    gate("echo", places=1)
    parts.on_hold.read()
    parts.ready_types.mark("echo")

    def take(slots: object, policies: object, limit: object) -> Claim:
        parts.done.append("claim")
        return NOTHING_LEFT

    monkeypatch.setattr(parts.claimer, "take", take)
    for _ in range(2):
        parts.dispatcher.round()
    assert parts.done[-2:] == ["claim", "claim"], "its type may still have ready tasks"


def test_a_node_claims_nothing_before_its_moment_and_sleeps_until_then() -> None:
    parts = Parts()
    gate("echo", seconds=0.2)
    parts.on_hold.read()
    parts.ready_types.mark("echo")
    parts.done.clear()
    parts.dispatcher.round()
    parts.dispatcher.round()
    assert parts.done == [] and 0.0 < parts.waits[-1] <= 0.2
    gate("echo", seconds=60.0)
    parts.on_hold.read()
    no_gates()
    parts.on_hold.read()
    parts.dispatcher.round()
    assert "claim {'echo': 1}" in parts.done


def test_limits_of_types_that_the_node_does_not_serve_are_nothing_to_it() -> None:
    types = TypesOnHold("node", ["echo"], lambda name: None)
    gate("resize", places=0)
    types.read()
    assert types.last.limits == {}
