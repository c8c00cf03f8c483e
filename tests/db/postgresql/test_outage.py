"""During an outage of the server one thread tries to connect; the others fail at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import OperationalError
from psycopg.errors import ConnectionTimeout

from tasks_app.db.postgresql.base import CONNECT_INTERVAL_SECONDS, NoAnswer, Outage


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
    with pytest.raises(NoAnswer, match="accepted no connection"):
        connect(outage, times_out)


def test_after_an_attempt_that_timed_out_there_is_a_pause(outage: Outage, clock: Clock) -> None:
    begin(outage)
    assert outage.known
    with pytest.raises(NoAnswer, match="no new attempt yet"):
        connect(outage)
    clock.now += CONNECT_INTERVAL_SECONDS
    connect(outage)
    assert not outage.known


def test_one_thread_tries_at_a_time(outage: Outage, clock: Clock) -> None:
    begin(outage)
    clock.now += CONNECT_INTERVAL_SECONDS
    with outage.connecting():
        clock.now += CONNECT_INTERVAL_SECONDS
        with pytest.raises(NoAnswer, match="no new attempt yet"):
            connect(outage)
    connect(outage)


def test_a_refusal_ends_the_outage(outage: Outage, clock: Clock) -> None:
    begin(outage)
    clock.now += CONNECT_INTERVAL_SECONDS
    with pytest.raises(OperationalError, match="refused"):
        connect(outage, refuses)
    assert not outage.known


def test_an_attempt_that_began_before_the_last_answer_begins_no_outage(outage: Outage, clock: Clock) -> None:
    def after_another() -> None:
        clock.now += 2.0
        connect(outage)
        times_out()

    with pytest.raises(NoAnswer):
        connect(outage, after_another)
    assert not outage.known
