"""Somebody else's hand on our containers, and containers that misbehave towards the engine."""

from __future__ import annotations

import threading
import time

import pytest

from tasks_app.runner.errors import CallTimeout, Crashed
from tasks_app.runner.wire import Success
from tests.docker.conftest import Intrude
from tests.docker.engines import client, is_gone

ECHO = Success({"do": "echo"})
HANDS = {
    "rm -f": lambda container: client().remove_container(container, force=True),
    "kill": lambda container: client().kill(container),
    "stop": lambda container: client().stop(container, timeout=1),
    "pause": lambda container: client().pause(container),
}


@pytest.mark.parametrize("hand", HANDS)
def test_an_idle_container_that_is_taken_away_is_replaced(intrude: Intrude, hand: str) -> None:
    desk = intrude()
    before = desk.ask("echo").container
    HANDS[hand](before)
    desk.until(lambda: desk.pool.stats().starts == 2 and desk.pool.free())
    assert desk.ask("echo").outcome == ECHO
    assert is_gone(before)


@pytest.mark.parametrize("hand", HANDS)
def test_a_busy_container_that_is_taken_away_costs_one_attempt(intrude: Intrude, hand: str) -> None:
    desk = intrude()
    desk.ask("echo")
    _, call = desk.begin({"do": "sleep"}, timeout=60.0)
    container = desk.pool.slots[0]._talk.container.id  # type: ignore[union-attr]
    HANDS[hand](container)
    done = desk.result(call)
    assert isinstance(done.outcome, Crashed)
    # Of one that was removed the engine may know no more.
    assert done.exit_code in {"rm -f": (None, 137), "kill": (137,), "stop": (143,), "pause": (None,)}[hand]
    assert desk.ask("echo").outcome == ECHO
    assert is_gone(container)


def test_a_flood_never_makes_the_engine_wait(intrude: Intrude) -> None:
    desk = intrude(instances=2)
    desk.until(lambda: desk.pool.free() == 2)
    _, call = desk.begin({"do": "flood"}, timeout=3.0)
    slowest, until = 0.0, time.monotonic() + 2
    while time.monotonic() < until:
        began = time.monotonic()
        assert client().containers()
        slowest = max(slowest, time.monotonic() - began)
        assert desk.ask("echo").outcome == ECHO
    desk.result(call)
    # Unread, it took more than a minute.
    assert slowest < 5


def test_a_flood_that_nobody_reads_is_ended_all_the_same(intrude: Intrude) -> None:
    desk = intrude()
    slot, call = desk.begin({"do": "flood"}, timeout=60.0)
    # Whoever holds this lock keeps the slot's thread from reading.
    with slot._lock:
        threading.Event().wait(1.0)
        container = slot._talk.container  # type: ignore[union-attr]
    slot.kill("enough")
    desk.result(call)
    assert is_gone(container.id)
    assert desk.ask("echo").outcome == ECHO


def test_a_handler_that_ignores_its_end_times_out_and_is_gone(intrude: Intrude) -> None:
    desk = intrude(start_timeout=0.0)
    desk.ask("echo")
    done = desk.ask("sleep", timeout=0.3)
    assert isinstance(done.outcome, CallTimeout)
    assert is_gone(done.container)
    assert desk.ask("echo").outcome == ECHO
