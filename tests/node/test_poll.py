"""The poll beside the bells: by the heartbeat while the clerk sleeps, by the clerk where that does not come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_app.lifecycle import submit
from tasks_app.node import Node
from tasks_app.node.clerk import NAP, POLL, POLL_SHARED, Clerk
from tasks_app.runner.handlers import Handler
from tasks_app.runner.process_engine import ProcessEngine

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def clerk(tmp_path: Path) -> Iterator[Clerk]:
    """Which has nothing to do, and has just polled."""
    node = Node({"echo": ECHO}, lambda *_: ProcessEngine(), home=tmp_path, digest="", order="fifo")
    node._clerk._hopeful.clear()
    yield node._clerk
    node._reactor.release()


ECHO = Handler(name="echo", command=("cat",))


def _overdue(clerk: Clerk) -> None:
    clerk.polled_at = time.monotonic() - 3600


def _called(clerk: Clerk) -> bool:
    return clerk._reactor._called


def test_the_heartbeat_wakes_the_clerk_for_what_waits_and_for_nothing_else(clerk: Clerk) -> None:
    _overdue(clerk)
    clerk.look()
    assert not _called(clerk)
    submit("echo")
    clerk.look()
    assert not _called(clerk), "it was just polled"
    _overdue(clerk)
    clerk.look()
    assert _called(clerk)
    clerk._listen()
    assert clerk._hopeful == {"echo"}


def test_a_clerk_sleeps_longer_while_the_heartbeat_polls_and_polls_itself_once_that_stops_or_others_serve_the_same(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(clerk._reactor, "turn", asked.append)
    clerk._listen()
    _overdue(clerk)
    clerk.look()
    clerk._listen()
    clerk.shared(True)
    clerk._listen()
    clerk.shared(False)
    clerk._minded_at -= 2 * POLL
    clerk._listen()
    assert asked[0] <= POLL < asked[1] <= NAP
    assert asked[2] <= POLL_SHARED and asked[3] <= POLL
