"""What a process knows of a server that does not answer: one thread asks, the others fail at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import OperationalError
from psycopg.errors import ConnectionTimeout

from tasks_app.postgresql.bounded import NoAnswer
from tasks_app.postgresql.outage import PAUSE, Outage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(clock)


def connect(outage: Outage, then: Callable[[], object] = lambda: None) -> None:
    with outage.connecting():
        then()


def times_out() -> None:
    raise ConnectionTimeout("connection timeout expired")


def refuses() -> None:
    raise OperationalError("connection refused")


def begin(outage: Outage) -> None:
    with pytest.raises(NoAnswer, match="has not greeted"):
        connect(outage, times_out)


def test_after_a_try_that_was_not_greeted_nobody_tries_for_a_while(outage: Outage, clock: Clock) -> None:
    begin(outage)
    assert outage.known
    with pytest.raises(NoAnswer, match="not asked again yet"):
        connect(outage)
    clock.now += PAUSE
    connect(outage)
    assert not outage.known


def test_one_tries_at_a_time(outage: Outage, clock: Clock) -> None:
    begin(outage)
    clock.now += PAUSE
    with outage.connecting():
        clock.now += PAUSE
        with pytest.raises(NoAnswer, match="not asked again yet"):
            connect(outage)
    connect(outage)


def test_a_refusal_is_an_answer(outage: Outage, clock: Clock) -> None:
    begin(outage)
    clock.now += PAUSE
    with pytest.raises(OperationalError, match="refused"):
        connect(outage, refuses)
    assert not outage.known


def test_who_began_before_the_last_answer_and_times_out_after_it_begins_no_outage(outage: Outage, clock: Clock) -> None:
    def after_another() -> None:
        clock.now += 2.0
        connect(outage)
        times_out()

    with pytest.raises(NoAnswer):
        connect(outage, after_another)
    assert not outage.known
