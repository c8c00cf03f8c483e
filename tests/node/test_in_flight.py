"""A node's in-flight tasks."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from tasks_app.node.in_flight import InFlightTasks
from tasks_app.queue.attempt import ClaimedTask, Policy
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.runner.endings import KillReason
from tasks_app.runner.slot import Slot


class FakeSlot:
    """Records the calls of `kill`."""

    container = None

    def __init__(self) -> None:
        self.killed: list[tuple[KillReason, Any]] = []

    def kill(self, reason: KillReason, token: Any = None) -> bool:
        self.killed.append((reason, token))
        return True

    def follow(self, token: Any) -> None:
        """There is no call."""


def claimed(identity: str, attempt: int = 1) -> ClaimedTask:
    return ClaimedTask(identity, "echo", "{}", attempt, 50, 1, 0, 0.0, Policy(30.0, 3, 1.0, frozenset()))


@pytest.fixture
def in_flight() -> InFlightTasks:
    return InFlightTasks()


def begin(in_flight: InFlightTasks, task: ClaimedTask, at: float = 100.0) -> FakeSlot:
    slot = FakeSlot()
    in_flight.begin(task, cast(Slot, slot), at)
    return slot


def test_running_and_unsaved_attempts_keep_their_leases(in_flight: InFlightTasks) -> None:
    running, unsaved, saved = claimed("a"), claimed("b"), claimed("c")
    for task in (running, unsaved, saved):
        begin(in_flight, task)
    in_flight.end(unsaved)
    in_flight.end(saved)
    in_flight.saved(saved)
    assert in_flight.count() == 1
    assert set(in_flight.leased()) == {("a", 1), ("b", 1)}


def test_a_lease_counts_from_before_its_statement_was_sent(in_flight: InFlightTasks) -> None:
    begin(in_flight, claimed("a"), at=100.0)
    assert in_flight.running()["a", 1].lease_end == 100.0 + LEASE_SECONDS
    in_flight.renewed(in_flight.leased(), 110.0)
    assert in_flight.running()["a", 1].lease_end == 110.0 + LEASE_SECONDS


def test_a_second_claim_of_the_same_attempt_adopts_a_running_one_and_no_ended_one(
    in_flight: InFlightTasks,
) -> None:
    running, other, unsaved = claimed("a"), claimed("a", attempt=2), claimed("b")
    begin(in_flight, running, at=100.0)
    begin(in_flight, unsaved)
    in_flight.end(unsaved)
    assert [in_flight.continues(task, 110.0) for task in (running, other, unsaved)] == [True, False, False]
    assert in_flight.running()["a", 1].lease_end == 110.0 + LEASE_SECONDS


def test_a_second_claim_does_not_adopt_an_attempt_that_is_being_stopped(in_flight: InFlightTasks) -> None:
    stopped, other = claimed("a"), claimed("b")
    begin(in_flight, stopped)
    begin(in_flight, other)
    in_flight.kill(lambda key, _: key == ("a", 1), KillReason.TAKEN_AWAY)
    assert [in_flight.continues(task, 110.0) for task in (stopped, other)] == [False, True]
    assert [in_flight.is_taken_away(task) for task in (stopped, other)] == [True, False]
    in_flight.end(stopped)
    assert not in_flight.is_taken_away(stopped)


def test_a_kill_names_the_task_so_that_the_next_one_in_the_slot_is_safe(in_flight: InFlightTasks) -> None:
    one, other = claimed("a"), claimed("b")
    slot, untouched = begin(in_flight, one), begin(in_flight, other)
    assert in_flight.kill(lambda key, _: key == ("a", 1), KillReason.TAKEN_AWAY) == 1
    assert slot.killed == [(KillReason.TAKEN_AWAY, one)]
    assert untouched.killed == []


def test_the_drain_waits_until_the_last_result_is_durable(in_flight: InFlightTasks) -> None:
    task = claimed("a")
    begin(in_flight, task)
    settled: list[bool] = []
    waiting = threading.Thread(target=lambda: settled.append(in_flight.wait_until_saved(30.0)))
    waiting.start()
    in_flight.end(task)
    assert not settled
    in_flight.saved(task)
    waiting.join(30)
    assert settled == [True]


def test_a_drain_that_is_forced_gives_up_at_once(in_flight: InFlightTasks) -> None:
    begin(in_flight, claimed("a"))
    assert in_flight.wait_until_saved(3600.0, lambda: True) is False
    assert in_flight.wait_until_saved(0.0) is False
