"""A round of the dispatcher performs its plans in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from types import SimpleNamespace
from typing import cast

import pytest
from django.db import OperationalError

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.node.claimer import Claim
from tasks_app.node.dispatcher import HOLD_SECONDS, POLL_SECONDS
from tasks_app.node.generation import Generation
from tasks_app.queue.attempt import AttemptResult, ClaimedTask, Policy
from tasks_app.queue.current import store
from tasks_app.queue.due_work import OnHold
from tasks_app.runner.pool import Pool
from tasks_app.runner.reactor import Reactor
from tests.node.dispatching import Dispatching
from tests.node.test_in_flight import claimed
from tests.queue.moves.kit import success


class Clockwork(Reactor):
    """Waits for nothing, and notes what it is told."""

    def __init__(self, done: list[str]) -> None:
        self.done = done
        self.waits: list[float] = []

    def turn(self, seconds: float) -> None:
        self.waits.append(seconds)

    def interrupt(self) -> None:
        self.done.append("interrupt")


class Parts(Dispatching):
    """A dispatcher whose parts note what it does, and ask no database. `echo` has one free slot, `other` none."""

    def __init__(self) -> None:
        self.done: list[str] = []
        reactor = Clockwork(self.done)
        self.waits = reactor.waits
        #: How much was done before each look for lost claims.
        self.looks: list[int] = []
        self.tasks: list[ClaimedTask] = []
        self.not_to_start: Set[str] = frozenset()
        self.during_claim: Callable[[], object] = lambda: None
        super().__init__({"echo": 1, "other": 0}, self._given_back, reactor)
        self.attempts.then = lambda task, _: self.done.append(f"start {task.id}")
        self.result_writer.by_dispatcher = False
        asked: list[tuple[object, str, Callable[..., object]]] = [
            (self.claimer, "take", self._take),
            (self.ready_types, "read", self._read),
            (self.lost_claims, "search", lambda: self.looks.append(len(self.done))),
            (self.lost_claims, "suspect", lambda: self.done.append("claim failed")),
            (self.result_writer, "wake", lambda: self.done.append("wake")),
        ]
        for part, name, answer in asked:
            setattr(part, name, answer)
        self.dispatcher.round()  # finds that nothing is ready
        self.done.clear()
        self.waits.clear()

    def _given_back(self, result: AttemptResult) -> None:
        self.done.append(f"give back {result.task.id}")

    def _read(self) -> list[str]:
        self.done.append("poll")
        return ["echo"]

    def _take(self, slots: Mapping[str, int], policies: Mapping[str, Policy], limit: int | None) -> Claim:
        self.done.append(f"claim {dict(slots)}")
        self.policies = policies
        self.during_claim()
        return Claim(self.tasks, 0.0, self.not_to_start)


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_the_writer_is_woken_then_types_are_polled_for_and_claimed_and_the_tasks_are_started(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.result_writer.put(success(claimed("before")))
    later = time.monotonic() + POLL_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    parts.tasks = [claimed("a")]
    parts.done.clear()
    parts.dispatcher.round()
    assert parts.done == ["wake", "poll", "claim {'echo': 1}", "start a"]


def test_a_mark_during_a_claim_that_finds_nothing_leads_to_another_claim(parts: Parts) -> None:
    parts.ready_types.mark("echo")
    parts.during_claim = lambda: parts.ready_types.mark("echo")
    parts.dispatcher.round()
    parts.during_claim = lambda: None
    parts.dispatcher.round()
    parts.dispatcher.round()
    assert parts.done.count("claim {'echo': 1}") == 2


def test_what_a_claim_took_whose_reply_was_lost_is_looked_for_before_the_next_claim(parts: Parts) -> None:
    def fail() -> None:
        raise OperationalError("the server has not answered for 11 s")

    parts.ready_types.mark("echo")
    parts.done.clear()
    parts.during_claim = fail
    with pytest.raises(OperationalError):
        parts.dispatcher.round()
    assert parts.done == ["claim {'echo': 1}", "claim failed"]
    parts.during_claim = lambda: None
    parts.dispatcher.round()
    assert parts.done[2:] == ["claim {'echo': 1}"]
    assert parts.looks[-1] == 2, "before it"


def test_a_generation_is_in_force_from_the_next_round_on_as_a_whole(parts: Parts) -> None:
    rolls = [True, True, False]
    pool = cast(Pool, SimpleNamespace(free=lambda: 2, roll=lambda: rolls.pop(0)))
    handler = Handler(name="resize", command=("cat",), timeout=7.0)
    generation = Generation({"resize": handler}, {"resize": pool})
    parts.dispatcher.swap(generation)
    parts.ready_types.mark("echo")  # while the dispatcher still works by the one before
    parts.done.clear()
    parts.tasks = [claimed("a")._replace(task_type="resize")]
    parts.dispatcher.round()
    assert generation.in_force.is_set()
    assert parts.done == ["claim {'resize': 2}", "start a"], "a type that comes may have tasks that nobody tells of"
    assert (parts.policies["resize"].timeout, parts.attempts.pools) == (7.0, [pool])
    parts.ready_types.mark("echo")
    parts.dispatcher.round()
    parts.dispatcher.round()
    parts.dispatcher.round()
    assert (parts.done[2:], rolls) == ([], []), "the pool rolls until nothing is left to change"


def test_tasks_that_must_not_start_are_given_back_and_the_others_start(parts: Parts) -> None:
    parts.ready_types.mark("echo")
    parts.tasks, parts.not_to_start = [claimed("a"), claimed("b")._replace(task_type="other")], {"echo"}
    parts.dispatcher.round()
    assert parts.done == ["interrupt", "claim {'echo': 1}", "give back a", "start b"]


def test_a_notification_of_a_type_on_hold_leads_to_a_claim_if_it_was_resumed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.on_hold.update(OnHold(frozenset({"echo"})), store().elapsed() - HOLD_SECONDS)
    monkeypatch.setattr(store(), "on_hold", lambda node: OnHold())
    parts.ready_types.mark("echo")
    parts.done.clear()
    parts.dispatcher.round()
    parts.dispatcher.round()
    assert "claim {'echo': 1}" in parts.done
