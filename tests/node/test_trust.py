"""When a node may take another's silence for its death: not after the database, or it itself, stood still."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from tasks_app.node import heartbeat as module
from tasks_app.node.heartbeat import RENEWAL, TRUST, Heartbeat
from tasks_app.node.ledger import Ledger


class Beats:
    """A heartbeat on a clock of the test's own, and whether it would have taken over by leases at each beat."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.heartbeat, self.now, self.stands_still, self.fails = heartbeat, 1000.0, 0.0, False

    def renew(self, *_: object) -> None:
        if self.fails:
            raise OperationalError("away")
        self.now += self.stands_still

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
        name="me", domain="here", beat=lambda: None, beat_if_changed=lambda: None, peers=lambda: 1
    )
    beats = Beats(Heartbeat(record, Path(), Ledger(), lambda _: None, lambda _: None))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: beats.now))
    monkeypatch.setattr(module, "renew", beats.renew)
    for verb in ("promote", "expire", "bury", "remove_rows"):
        monkeypatch.setattr(module, verb, lambda *_: [])
    monkeypatch.setattr(beats.heartbeat, "_take_over", lambda: None)
    monkeypatch.setattr(f"{module.__name__}.tally.process.flush", lambda: None)
    return beats


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
