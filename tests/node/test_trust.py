"""When a silent node counts as dead: not after the database, or the node that judges, stood still.

And not after the database's clock was set: then every lease is wrong until its node has renewed it.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from tasks_app.conf.watching import Watcher
from tasks_app.metrics.system_reading import SILENCE_SECONDS
from tasks_app.node import heartbeat as module
from tasks_app.node import leases as leases_module
from tasks_app.node.heartbeat import CLOCK_STEP_SECONDS, Heartbeat
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.leases import RENEWAL_SECONDS, TRUST_SECONDS, Availability, Leases
from tasks_app.node.ready_types import ReadyTypes, TypesOnHold
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.queue.current import store
from tasks_app.queue.due_work import DueWork
from tasks_app.queue.reloads import AskedReloads
from tests.node.test_in_flight import begin, claimed


class Beats:
    """A heartbeat, and the leases beside it, on a clock that the test controls."""

    def __init__(
        self, heartbeat: Heartbeat, leases: Leases, availability: Availability, in_flight: InFlightTasks
    ) -> None:
        self.heartbeat, self.leases, self.availability, self.in_flight = heartbeat, leases, availability, in_flight
        self.renew_at = 0.0
        self.now, self.stands_still = 1000.0, 0.0
        #: How far the database's clock is ahead, and how long a check takes.
        self.ahead, self.slow = 5e8, 0.0
        self.renewed: list[float] = []
        #: Whether each promotion knew that the database's clock was set back, and whether it fails.
        self.promoted: list[bool] = []
        self.promote_fails = False

    def renew(self, *_: object) -> set[tuple[str, int]]:
        self.renewed.append(self.now)
        self.now += self.stands_still
        return set()

    def due_work(self, *_: object) -> DueWork:
        self.now += self.slow
        return DueWork(self.now + self.ahead)

    def promote(self, all_clocks: bool, set_back: bool) -> list[str]:
        self.promoted.append(set_back)
        if self.promote_fails:
            raise OperationalError("away")
        return []

    def each_second(self, seconds: float) -> bool:
        """Beat and renew for so long. Returns whether it trusts silence at the end."""
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            self.renew_if_due()
            try:
                self.heartbeat.beat()
            except OperationalError:
                self.availability.lost()
            self.renew_if_due()
        return self.availability.trusts_silence()

    def renew_if_due(self) -> None:
        if self.now >= self.renew_at or self.leases._due.is_set():
            self.leases._due.clear()
            pause = self.leases.renew()
            self.renew_at = self.now + pause


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Beats:
    record: Any = SimpleNamespace(
        name="me", domain="here", update=lambda: None, update_if_changed=lambda: None, peers=lambda: 1,
        write_commands=lambda: None,
    )  # fmt: skip
    availability, in_flight = Availability(), InFlightTasks()
    on_hold = TypesOnHold("me", [], lambda _: None)
    leases = Leases("me", Path(), in_flight, availability)
    monkeypatch.setattr(module, "registered", lambda _: ())  # no side jobs
    heartbeat = Heartbeat(
        record, Path(), in_flight=in_flight, availability=availability, leases=leases, on_hold=on_hold,
        ready_types=ReadyTypes([], lambda: None), containers_removed=lambda _: True,
        reloads=AskedReloads(Watcher()),
    )  # fmt: skip
    found: Beats = Beats(heartbeat, leases, availability, in_flight)
    monkeypatch.setattr(store(), "elapsed", lambda: found.now)
    monkeypatch.setattr(store(), "due_work", found.due_work)
    monkeypatch.setattr(leases_module, "renew", found.renew)
    monkeypatch.setattr(store(), "maintain", set)
    monkeypatch.setattr(module, "promote", found.promote)
    monkeypatch.setattr(found.heartbeat, "_take_over", lambda others, leases: None)
    monkeypatch.setattr(f"{module.__name__}.local_counters.process.flush", lambda: None)
    return found


def test_a_node_trusts_silence_once_it_has_renewed_for_a_while(beats: Beats) -> None:
    assert not beats.each_second(TRUST_SECONDS - 1)
    assert beats.each_second(3)
    assert beats.each_second(5 * RENEWAL_SECONDS)


def test_not_after_the_database_hung_and_then_answered(beats: Beats) -> None:
    beats.each_second(TRUST_SECONDS + RENEWAL_SECONDS)
    beats.stands_still = 3 * RENEWAL_SECONDS
    beats.each_second(2 * RENEWAL_SECONDS)
    beats.stands_still = 0.0
    beats.each_second(RENEWAL_SECONDS)
    assert not beats.availability.trusts_silence(), "the renewal came late"
    assert beats.each_second(TRUST_SECONDS)


def test_not_after_the_node_itself_was_suspended(beats: Beats) -> None:
    beats.each_second(TRUST_SECONDS + RENEWAL_SECONDS)
    beats.now += 60.0
    assert not beats.availability.trusts_silence()
    assert not beats.each_second(2)
    assert beats.each_second(TRUST_SECONDS)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, LEASE_SECONDS])
def test_not_after_the_databases_clock_was_set_and_it_renews_at_once(beats: Beats, seconds: float) -> None:
    beats.each_second(TRUST_SECONDS + RENEWAL_SECONDS)
    while beats.now - beats.renewed[-1] > 2:  # just renewed: not due for long
        beats.each_second(1)
    beats.ahead += seconds
    assert not beats.each_second(1)
    assert beats.renewed[-1] == beats.now, "before others may take its tasks over"
    assert not beats.each_second(TRUST_SECONDS - 2)
    assert beats.each_second(3)


def test_after_the_databases_clock_was_set_back_retries_are_promoted_that_would_wait_for_as_long(beats: Beats) -> None:
    beats.each_second(5)
    beats.ahead += 3600.0
    beats.each_second(5)
    assert beats.promoted == []
    beats.ahead -= 3600.0
    beats.promote_fails = True
    beats.each_second(2)
    beats.promote_fails = False
    beats.each_second(5)
    assert beats.promoted == [True] * 3, "until it has succeeded once"


def test_a_slow_answer_of_the_database_is_no_change_of_its_clock(beats: Beats) -> None:
    beats.each_second(TRUST_SECONDS + RENEWAL_SECONDS)
    beats.slow = 2 * CLOCK_STEP_SECONDS
    assert beats.each_second(2)
    beats.slow = 0.0
    assert beats.each_second(1)


@pytest.mark.parametrize("lease", [6.0, 30.0, 600.0])
def test_a_lease_is_renewed_three_times_before_it_is_over(
    beats: Beats, monkeypatch: pytest.MonkeyPatch, lease: float
) -> None:
    monkeypatch.setattr(leases_module, "RENEWAL_SECONDS", lease / 3)
    begin = beats.now
    while beats.now < begin + lease:
        beats.now += beats.leases.renew()
    assert beats.renewed[0] == begin and len([at for at in beats.renewed if at < begin + lease]) >= 4


def test_a_node_says_three_times_before_it_counts_as_silent_that_it_lives_however_long_its_lease(
    beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "RENEWAL_SECONDS", 200.0)
    beats.each_second(100)
    assert max(later - one for one, later in pairwise(beats.renewed)) <= SILENCE_SECONDS / 3


def test_only_leases_that_the_database_renewed_last_longer(beats: Beats, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, locked = claimed("kept"), claimed("locked")
    for task in (kept, locked):
        begin(beats.in_flight, task, beats.now)
    monkeypatch.setattr(leases_module, "renew", lambda *_: {("kept", 1)})
    monkeypatch.setattr(module, "still_held", lambda *_: {("kept", 1), ("locked", 1)})
    beats.each_second(1)
    ends = {key: one.lease_end for key, one in beats.in_flight.running().items()}
    assert ends["kept", 1] > ends["locked", 1] == 1000.0 + LEASE_SECONDS
