"""What a node has in its hands."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from tasks_app.lifecycle import Claimed, Policy
from tasks_app.lifecycle.claim import LEASE
from tasks_app.node.ledger import Ledger
from tasks_app.runner.slot import Slot


class Seat:
    """Stands for a slot: remembers who was to be killed in it."""

    def __init__(self) -> None:
        self.killed: list[tuple[str, Any]] = []

    def kill(self, reason: str, token: Any = None) -> bool:
        self.killed.append((reason, token))
        return True


def claimed(identity: str, attempt: int = 1) -> Claimed:
    return Claimed(identity, "echo", "{}", attempt, 50, 1, 0, 0.0, Policy(30.0, 3, 1.0, frozenset()))


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def begin(ledger: Ledger, task: Claimed, at: float = 100.0) -> Seat:
    seat = Seat()
    ledger.begin(task, cast(Slot, seat), at)
    return seat


def test_what_runs_and_what_is_owed_keeps_its_lease(ledger: Ledger) -> None:
    running, owed, over = claimed("a"), claimed("b"), claimed("c")
    for task in (running, owed, over):
        begin(ledger, task)
    ledger.end(owed)
    ledger.end(over)
    ledger.settled(over)
    assert ledger.count() == 1
    assert set(ledger.leased()) == {("a", 1), ("b", 1)}


def test_a_lease_counts_from_before_its_statement_was_sent(ledger: Ledger) -> None:
    begin(ledger, claimed("a"), at=100.0)
    assert ledger.running()["a", 1].lease_end == 100.0 + LEASE
    ledger.renewed(ledger.leased(), 110.0)
    assert ledger.running()["a", 1].lease_end == 110.0 + LEASE


def test_what_runs_is_adopted_by_a_second_claim_of_the_same_attempt_and_what_has_ended_is_not(ledger: Ledger) -> None:
    running, other, owed = claimed("a"), claimed("a", attempt=2), claimed("b")
    begin(ledger, running, at=100.0)
    begin(ledger, owed)
    ledger.end(owed)
    assert [ledger.adopt(task, 110.0) for task in (running, other, owed)] == [True, False, False]
    assert ledger.running()["a", 1].lease_end == 110.0 + LEASE


def test_a_kill_names_the_task_so_that_the_next_one_in_the_slot_is_safe(ledger: Ledger) -> None:
    one, other = claimed("a"), claimed("b")
    seat, untouched = begin(ledger, one), begin(ledger, other)
    assert ledger.kill(lambda key, _: key == ("a", 1), "deleted") == 1
    assert seat.killed == [("deleted", one)]
    assert untouched.killed == []


def test_the_drain_waits_until_the_last_outcome_is_durable(ledger: Ledger) -> None:
    task = claimed("a")
    begin(ledger, task)
    done: list[bool] = []
    waiting = threading.Thread(target=lambda: done.append(ledger.wait_until_settled(30.0)))
    waiting.start()
    ledger.end(task)
    assert not done
    ledger.settled(task)
    waiting.join(30)
    assert done == [True]


def test_a_drain_that_is_hurried_gives_up_at_once(ledger: Ledger) -> None:
    begin(ledger, claimed("a"))
    assert ledger.wait_until_settled(3600.0, lambda: True) is False
    assert ledger.wait_until_settled(0.0) is False
