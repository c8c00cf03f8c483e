"""When a node may take another's silence for its death: not after the database, or it itself, stood still.

And not after the database's clock was set: then every lease is wrong, until each node has renewed its own.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.db import OperationalError

from tasks_app import clock
from tasks_app.lifecycle import Look
from tasks_app.lifecycle.claim import LEASE
from tasks_app.metrics.figures import SILENCE
from tasks_app.node import heartbeat as module
from tasks_app.node.heartbeat import BEAT, RENEWAL, STEP, TRUST, Heartbeat
from tasks_app.node.ledger import Ledger
from tasks_app.runner.slot import Slot
from tests.node.test_ledger import claimed


class Beats:
    """A heartbeat on a clock of the test's own, and whether it would have taken over by leases at each beat."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.heartbeat, self.now, self.stands_still, self.fails = heartbeat, 1000.0, 0.0, False
        #: By how much the database's clock is ahead, and how long it takes to say so.
        self.ahead, self.slow, self.blind = 5e8, 0.0, False
        self.renewed: list[float] = []
        self.said: list[float] = []

    def renew(self, *_: object) -> set[tuple[str, int]]:
        if self.fails:
            raise OperationalError("away")
        self.renewed.append(self.now)
        self.now += self.stands_still
        return set()

    def look(self, *_: object) -> Look:
        self.now += self.slow
        if self.blind:
            raise OperationalError("too slow")
        return Look(self.now + self.ahead, soonest=self.now + self.ahead + 1.0)  # or it would look seldom

    def each_second(self, seconds: float) -> bool:
        """Beat for so long. Answers whether it trusts at the end."""
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            try:
                self.heartbeat._beat()
            except OperationalError:
                self.heartbeat._sound_since = None
        return self.heartbeat.trusts()


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Beats:
    record: Any = SimpleNamespace(
        name="me", domain="here", beat=lambda: found.said.append(found.now), beat_if_changed=lambda: None,
        peers=lambda: 1,
    )  # fmt: skip
    found: Beats = Beats(Heartbeat(record, Path(), Ledger(), lambda _: None, lambda _: None))
    monkeypatch.setattr(clock, "elapsed", lambda: found.now)
    monkeypatch.setattr(module, "look", found.look)
    monkeypatch.setattr(module, "renew", found.renew)
    monkeypatch.setattr(found.heartbeat, "_take_over", lambda others, leases: None)
    monkeypatch.setattr(f"{module.__name__}.tally.process.flush", lambda: None)
    return found


def test_a_node_trusts_once_it_has_renewed_for_a_while(beats: Beats) -> None:
    assert not beats.each_second(TRUST - 1)
    assert beats.each_second(3)
    assert beats.each_second(5 * RENEWAL)


def test_it_does_not_after_an_error_of_the_database(beats: Beats) -> None:
    beats.each_second(TRUST + RENEWAL)
    beats.fails = True
    assert not beats.each_second(RENEWAL + 1)
    beats.fails = False
    assert not beats.each_second(TRUST - 1)
    assert beats.each_second(RENEWAL + 1)


def test_it_does_not_after_a_database_that_hung_and_answered_in_the_end(beats: Beats) -> None:
    beats.each_second(TRUST + RENEWAL)
    beats.stands_still = 3 * RENEWAL
    beats.each_second(2 * RENEWAL)
    beats.stands_still = 0.0
    beats.each_second(RENEWAL)
    assert not beats.heartbeat.trusts(), "the renewal came late"
    assert beats.each_second(TRUST)


def test_it_does_not_after_it_was_stopped_itself(beats: Beats) -> None:
    beats.each_second(TRUST + RENEWAL)
    beats.now += 60.0
    assert not beats.heartbeat.trusts()
    assert not beats.each_second(2)
    assert beats.each_second(TRUST)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, LEASE])
def test_it_does_not_after_the_databases_clock_was_set_and_renews_at_once(beats: Beats, seconds: float) -> None:
    beats.each_second(TRUST + RENEWAL)
    while beats.now - beats.renewed[-1] > 2:  # just renewed: not due for long
        beats.each_second(1)
    beats.ahead += seconds
    assert not beats.each_second(1)
    assert beats.renewed[-1] == beats.said[-1] == beats.now, "before others may take its tasks over"
    assert not beats.each_second(TRUST - 2)
    assert beats.each_second(3)


def test_a_database_that_is_slow_to_tell_the_time_has_not_set_its_clock(beats: Beats) -> None:
    beats.each_second(TRUST + RENEWAL)
    beats.slow = 2 * STEP
    assert beats.each_second(2)
    beats.slow = 0.0
    assert beats.each_second(1)


def test_a_node_that_cannot_look_keeps_its_leases_and_trusts_no_silence(beats: Beats) -> None:
    beats.each_second(TRUST + RENEWAL)
    before, beats.blind = len(beats.renewed), True
    assert not beats.each_second(3 * RENEWAL + 1)
    assert len(beats.renewed) - before >= 3


@pytest.mark.parametrize("lease", [6.0, 30.0, 600.0])
def test_a_lease_is_renewed_three_times_before_it_is_over(
    beats: Beats, monkeypatch: pytest.MonkeyPatch, lease: float
) -> None:
    monkeypatch.setattr(module, "RENEWAL", lease / 3)
    begin = beats.now
    while beats.now < begin + lease:
        beats.heartbeat._beat()
        beats.now += BEAT + 0.005
    assert [at for at in beats.renewed if at == begin] and len(beats.renewed) == 4


def test_a_node_speaks_thrice_before_it_is_taken_for_silent_however_long_its_lease(
    beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL", 200.0)
    beats.each_second(100)
    assert len(beats.renewed) == 1
    assert max(later - one for one, later in pairwise(beats.said)) <= SILENCE / 3 + 1


def test_only_what_the_database_renewed_is_a_nodes_own_for_longer(
    beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, locked = claimed("kept"), claimed("locked")
    ledger = beats.heartbeat._ledger
    for task in (kept, locked):
        ledger.begin(task, cast(Slot, None), beats.now)
    monkeypatch.setattr(module, "renew", lambda *_: {("kept", 1)})
    monkeypatch.setattr(module, "held", lambda _: {("kept", 1), ("locked", 1)})
    beats.each_second(1)
    ends = {key: one.lease_end for key, one in ledger.running().items()}
    assert ends["kept", 1] > ends["locked", 1] == 1000.0 + LEASE
