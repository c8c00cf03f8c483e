"""What a node must not start: paused types, and all types of a drained node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError
from django.utils import timezone

from tasks_app.node import claimer as module
from tasks_app.node.claimer import Claim, Claimer
from tasks_app.node.ready_types import MAX_AGE_SECONDS, MAX_DELAY_SECONDS, TypesOnHold
from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.claim import claim
from tasks_app.queue.current import store
from tasks_app.queue.due_work import OnHold
from tasks_app.queue.node_models import HandlerPause, Node
from tests.node.dispatching import generation
from tests.queue.moves.kit import row, submitted

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

TYPES = ("echo", "resize")
POLICIES = generation(dict.fromkeys(TYPES, 5)).policies


class Parts:
    """A claimer of the node `node` with a clock that is set by hand, and what it is made of."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.marked: list[str] = []
        self.types = TypesOnHold("node", TYPES, self.marked.append)
        self.claimer = Claimer("node", "fifo", self.types)
        self.during_claim: Callable[[], object] = lambda: None

    def claim(self, *more: Any) -> list[ClaimedTask]:
        """In place of the verb: the claim, and then what happens before its answer arrives."""
        found = claim(*more)
        self.during_claim()
        return found

    def take(self, *types: str) -> Claim:
        found = self.claimer.take(dict.fromkeys(types, 5), POLICIES, None)
        assert found is not None
        return found

    def taken(self) -> list[str]:
        return sorted(task.task_type for task in self.take(*TYPES).tasks)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    found = Parts()
    monkeypatch.setattr(store(), "elapsed", lambda: found.now)
    monkeypatch.setattr(module, "claim", found.claim)
    return found


def test_a_type_that_a_reload_brings_back_is_on_hold_if_it_was_paused_before(parts: Parts) -> None:
    pause("prime")
    parts.types.read()
    assert parts.types.last.types == set()
    parts.types.serve(frozenset({"echo", "prime"}))
    assert parts.types.last.types == {"prime"}
    parts.types.serve(frozenset({"echo"}))
    assert parts.types.last.types == set()


def pause(*names: str) -> None:
    for name in names:
        HandlerPause.objects.create(handler=name, paused_at=timezone.now(), paused_by="alice")


def drained_node(**drains: Any) -> None:
    now = timezone.now()
    Node.objects.create(
        name="node", lock_domain="", started_at=now, seen_at=now, seen=0.0, clock="", digest="", **drains
    )


def test_the_first_claim_of_a_node_knows_the_pauses(parts: Parts) -> None:
    submitted(50, 50)
    submitted(50, task_type="resize")
    pause("echo")
    assert parts.taken() == ["resize"]


def test_a_drained_node_claims_nothing(parts: Parts) -> None:
    submitted(50)
    drained_node(drain_requested_at=timezone.now())
    assert parts.taken() == []


def test_a_node_that_is_drained_for_a_type_claims_the_others(parts: Parts) -> None:
    submitted(50)
    submitted(50, task_type="resize")
    drained_node(drained_types={"echo": {}})
    assert parts.taken() == ["resize"]


def test_a_claim_relies_on_no_reading_that_is_too_old(parts: Parts) -> None:
    submitted(50)
    parts.types.read()
    pause("echo")
    parts.now += MAX_AGE_SECONDS + 0.01
    assert parts.taken() == []


def test_a_node_that_cannot_read_the_pauses_claims_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    [task] = submitted(50)

    def fail(node: str) -> OnHold:
        raise OperationalError("away")

    monkeypatch.setattr(store(), "on_hold", fail)
    with pytest.raises(DatabaseError):
        parts.taken()
    assert row(task).status == "pending"


def test_of_a_quick_claim_everything_starts(parts: Parts) -> None:
    submitted(50)

    def a_moment_later() -> None:
        parts.now += MAX_DELAY_SECONDS - 0.01
        parts.types.update(OnHold(frozenset({"echo"})), parts.now)  # the heartbeat has read a new pause

    parts.during_claim = a_moment_later
    found = parts.take("echo")
    assert len(found.tasks) == 1 and not found.not_to_start


def test_of_a_claim_that_hung_nothing_of_a_paused_type_starts(parts: Parts) -> None:
    submitted(50)
    submitted(50, task_type="resize")

    def long_after() -> None:
        pause("echo")
        parts.now += MAX_DELAY_SECONDS + 0.01

    parts.during_claim = long_after
    found = parts.take(*TYPES)
    assert len(found.tasks) == 2 and found.not_to_start == {"echo"}


def test_a_claim_that_hung_is_checked_against_what_the_heartbeat_has_read_meanwhile(parts: Parts) -> None:
    submitted(50)

    def long_after() -> None:
        parts.now += MAX_DELAY_SECONDS + 0.01
        parts.types.update(OnHold(frozenset({"echo"})), parts.now)

    parts.during_claim = long_after
    assert parts.take("echo").not_to_start == {"echo"}


def test_of_a_claim_that_hung_nothing_starts_if_the_pauses_cannot_be_read(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(50)

    def fail(node: str) -> OnHold:
        raise OperationalError("away")

    def long_after() -> None:
        parts.now += MAX_DELAY_SECONDS + 0.01
        monkeypatch.setattr(store(), "on_hold", fail)

    parts.during_claim = long_after
    assert parts.take("echo").not_to_start == set(TYPES)


def test_a_type_that_is_no_longer_on_hold_is_marked_ready(parts: Parts) -> None:
    parts.types.update(OnHold(frozenset({"echo", "other"})), 1.0)
    parts.types.update(OnHold(frozenset({"other"})), 2.0)
    assert parts.marked == ["echo"]
    parts.types.update(OnHold(drained=True), 3.0)
    assert parts.types.last.types == set(TYPES)
    parts.types.update(OnHold(), 4.0)
    assert sorted(parts.marked) == ["echo", "echo", "resize"]


def test_a_reading_does_not_replace_a_later_one(parts: Parts) -> None:
    parts.types.update(OnHold(frozenset({"echo"})), 2.0)
    parts.types.update(OnHold(), 1.0)
    assert parts.types.last.types == {"echo"} and parts.marked == []


def test_a_type_is_drained_once_no_claim_relies_on_an_earlier_reading(parts: Parts) -> None:
    parts.types.update(OnHold(drained_types=frozenset({"echo", "other"})), 1.0)
    assert parts.types.last.types == {"echo"}
    assert "echo" not in parts.types.drained_types()  # a claim may be in progress
    parts.types.between_claims()
    assert "echo" in parts.types.drained_types() and not parts.types.is_drained()
    parts.types.update(OnHold(), 2.0)
    parts.types.between_claims()
    assert "echo" not in parts.types.drained_types() and parts.marked == ["echo"]


def test_a_handler_that_reads_its_line_late_may_begin_unless_its_type_is_on_hold_by_then(parts: Parts) -> None:
    parts.types.update(OnHold(), parts.now)
    parts.now += MAX_DELAY_SECONDS
    assert parts.types.may_begin("echo", 0.0) is True
    parts.types.update(OnHold(frozenset({"echo"})), parts.now)
    assert parts.types.may_begin("echo", 0.0) is False
    assert parts.types.may_begin("resize", 0.0) is True
    parts.types.update(OnHold(drained=True), parts.now)
    assert parts.types.may_begin("resize", 0.0) is False


def test_with_an_old_reading_it_waits_for_one_that_was_sent_since(parts: Parts) -> None:
    parts.types.update(OnHold(), parts.now)
    sent_at = parts.now + 1.0
    parts.now += MAX_DELAY_SECONDS + 0.01
    assert parts.types.may_begin("echo", 0.0) is None
    parts.now += 5.0
    assert parts.types.may_begin("echo", 5.0) is None
    parts.types.update(OnHold(), sent_at)  # sent before the handler asked: it may have missed a pause
    assert parts.types.may_begin("echo", 5.0) is None
    parts.types.update(OnHold(), parts.now - 4.9)  # the database was slow
    assert parts.types.may_begin("echo", 5.0) is True
