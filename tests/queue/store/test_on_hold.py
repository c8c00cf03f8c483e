"""What a store says about pauses and drains (40)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks_app.queue.current import store
from tasks_app.queue.due_work import OnHold
from tasks_app.queue.node_models import HandlerPause, Node
from testkit.rows import node
from tests.queue.moves.kit import together
from tests.queue.store.kit import elsewhere

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def paused(name: str, until: datetime | None = None) -> None:
    HandlerPause.objects.create(handler=name, paused_at=NOW, paused_by="alice", until=until)


def both() -> OnHold:
    """The answer of both methods."""
    alone = store().on_hold("node")
    assert store().due_work("node").on_hold == alone
    return alone


def test_40_without_a_pause_or_a_drain_nothing_is_on_hold() -> None:
    assert both() == OnHold()
    node("node")
    assert both() == OnHold()


def test_40_a_pause_is_on_hold_until_it_has_ended_by_the_databases_clock() -> None:
    paused("for good")
    paused("for an hour", NOW + HOUR)
    paused("until an hour ago", NOW - HOUR)
    assert both() == OnHold(frozenset({"for good", "for an hour"}))


def test_40_a_pause_ends_within_milliseconds_of_its_moment() -> None:
    until = store().moment()[1] + timedelta(milliseconds=300)
    paused("echo", until)
    seen: list[tuple[datetime, frozenset[str]]] = []
    while (found := store().on_hold("node").paused) or not seen:
        seen.append((store().moment()[1], found))
    assert seen[0][1] and (store().moment()[1] - until).total_seconds() >= 0.0


def test_40_a_nodes_drain_is_its_own() -> None:
    node("node")
    node("other", drain_requested_at=NOW, drain_requested_by="alice")
    assert both() == OnHold()
    Node.objects.update(drain_requested_at=NOW)
    assert both() == OnHold(drained=True)


def test_40_a_nodes_drained_types_are_its_own() -> None:
    name = 'a "quoted" \\ name, é'
    node("node")
    node("other", drained_types={"echo": {}})
    assert both() == OnHold()
    Node.objects.filter(pk="node").update(drained_types={name: {}, "echo": {}})
    assert both() == OnHold(drained_types=frozenset({name, "echo"}))
    Node.objects.filter(pk="node").update(drained_types=None)
    assert both() == OnHold()


def test_40_what_was_committed_before_the_call_is_seen() -> None:
    assert both() == OnHold()
    together(lambda: paused("echo"))
    assert both() == OnHold(frozenset({"echo"}))


def test_40_no_lock_is_taken_or_waited_for() -> None:
    paused("echo")
    with elsewhere(lambda: HandlerPause.objects.all().delete()):
        assert both().paused == {"echo"}


def test_40_names_of_any_text_arrive_whole() -> None:
    name = 'a "quoted" \\ name, é'
    paused(name)
    assert both().paused == {name}
