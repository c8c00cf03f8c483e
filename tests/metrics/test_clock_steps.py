"""A wait across a step of the machine's clock is not counted: counters cannot be corrected later."""

from __future__ import annotations

import importlib
import time

import pytest
from django.db import connection

from tasks_app.metrics.reading import Distribution
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.counters import ClockSteps
from tests.metrics.work import end, submit, take

HOUR = 3600.0


class Clocks:
    """A wall clock that can be set, and a monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.set_by = 0.0

    def wall(self) -> float:
        return self.now + self.set_by

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def steps(clocks: Clocks) -> ClockSteps:
    return ClockSteps(clocks.wall, clocks.monotonic)


@pytest.mark.parametrize("by", [HOUR, -HOUR, 2.0])
def test_a_wait_across_a_step_is_left_out_and_a_later_one_is_not(clocks: Clocks, steps: ClockSteps, by: float) -> None:
    clocks.now += 10.0
    steps.check()
    claimed_before = clocks.now - 1.0
    clocks.set_by = by
    clocks.now += 1.0
    steps.check()
    clocks.now += 5.0
    steps.check()
    assert not steps.affects(300.0, claimed_before)
    assert steps.affects(6.0 + abs(by), clocks.now)
    assert not steps.affects(4.0, clocks.now)
    clocks.now += 2 * HOUR
    steps.check()
    assert not steps.affects(HOUR, clocks.now)


def test_a_slowly_adjusted_clock_makes_no_step(clocks: Clocks, steps: ClockSteps) -> None:
    for _ in range(100):
        clocks.now += 10.0
        clocks.set_by += 0.005
        steps.check()
    assert not steps.affects(500.0, clocks.now)


def waits() -> Distribution:
    return current_reading(refresh=True).totals.distributions("wait")["echo", "success"]


@pytest.mark.database
@pytest.mark.django_db
@pytest.mark.usefixtures("database")
def test_a_clock_that_is_set_forward_by_an_hour_is_not_in_the_histogram(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = ClockSteps(lambda: time.monotonic() + clocks.set_by)
    settle = importlib.import_module("tasks_app.queue.settle")  # the package has a verb of that name
    monkeypatch.setattr(settle, "clock_steps", steps)
    submit(1)
    end(take(1))
    assert waits().count == 1
    submit(2)
    clocks.set_by = HOUR  # as the database's clock: ready tasks seem to have waited an hour longer
    steps.check()
    earlier = "datetime(ready_at, '-1 hour')" if connection.vendor == "sqlite" else "ready_at - interval '1 hour'"
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE taskdaemon_task SET ready_at = {earlier} WHERE status = 'pending'")
    end(take(2))
    assert waits().count == 1
    assert waits().sum < 600.0
    submit(1)
    end(take(1))
    assert waits().count == 2
