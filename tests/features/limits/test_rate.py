"""`rate`: tasks of a handler start evenly spaced, over all nodes; and the algorithm alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks_app.features.limits.models import Limit
from tasks_app.features.limits.rates import wait
from tasks_app.features.limits.settings import UNITS, interval_of
from tasks_app.queue.current import store
from tasks_app.queue.due_work import StartLimit
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from tests.features.limits.kit import limit, limited_claim, take
from tests.queue.moves.kit import failure, submitted, success, together

RATES = st.tuples(st.integers(1, 3000), st.sampled_from("smhd")).filter(lambda rate: rate[0] <= 50 * UNITS[rate[1]])


@settings(suppress_health_check=[HealthCheck.too_slow])  # beside load
@given(
    rate=RATES,
    begin=st.floats(0, 2e9),
    delays=st.lists(st.floats(0, 3) | st.just(0.0), min_size=1, max_size=200),
)
@example(rate=(1, "s"), begin=0.0, delays=[0.0, 0.0])
@example(rate=(7, "s"), begin=1.9e9, delays=[0.0] * 50)
@example(rate=(50, "s"), begin=1.8e9 + 1 / 3, delays=[0.0] * 200)
def test_no_window_has_more_starts_than_the_rate_says(rate: tuple[int, str], begin: float, delays: list[float]) -> None:
    """Callers that ask again exactly when they may, or some intervals later, as stored in microseconds."""
    number, unit = rate
    interval, period = interval_of(f"{number}/{unit}"), UNITS[unit]
    starts: list[int] = []
    last, now = None, begin
    for delay in delays:
        now += delay * interval
        if (more := wait(last, interval, now)) > 0:
            now += more
            if wait(last, interval, now) > 0:  # the sum was rounded down
                now = math.nextafter(now, math.inf)
        assert wait(last, interval, now) < 1e-6
        starts.append(round(now * 1e6))
        last = now
    window = round(period * 1e6)
    for index, start in enumerate(starts):
        inside = sum(start <= other < start + window for other in starts[index:])
        assert inside <= number, (index, inside)


@given(interval=st.floats(0.02, 86_400), now=st.floats(0, 1e6), ahead=st.floats(0.001, 1e6))
def test_after_the_clock_was_set_back_a_whole_interval_has_to_pass(interval: float, now: float, ahead: float) -> None:
    assert wait(now + ahead, interval, now) == interval


@given(interval=st.floats(0.02, 86_400), last=st.floats(0, 1e6), idle=st.floats(0, 1e6))
def test_a_wait_never_lasts_longer_than_an_interval_and_ends_with_it(interval: float, last: float, idle: float) -> None:
    left = wait(last, interval, last + idle)
    assert 0.0 <= left <= interval + 1e-5
    assert wait(last, interval, last + interval + 1e-3) == 0.0


def test_an_idle_time_earns_nothing() -> None:
    assert wait(0.0, 1.0, 1000.0) == 0.0
    assert wait(1000.0, 1.0, 1000.0) > 1.0


# Claims.


def earlier(seconds: float, handler: str = "echo") -> None:
    """The last start was so many seconds earlier."""
    row = Limit.objects.get(pk=handler)
    assert row.last_start is not None
    Limit.objects.filter(pk=handler).update(last_start=row.last_start - seconds)


@pytest.mark.django_db
@pytest.mark.usefixtures("notifications")
class TestClaims:
    def test_a_claim_takes_one_task_and_the_next_one_waits(self) -> None:
        limit(rate="6/m")
        submitted(*[50] * 5)
        first = limited_claim({"echo": 4})
        assert (
            len(first.tasks) == 1
            and first.asked == {"echo": 1}
            and first.limits == {"echo": StartLimit(None, 10.0, True)}
        )
        assert not first.tasks[0].permit
        again = limited_claim({"echo": 4}, "other")
        assert again.tasks == [] and 9.0 < again.limits["echo"].seconds <= 10.1
        earlier(9.0)
        assert take() == []
        earlier(1.1)
        assert len(take()) == 1

    def test_a_retry_takes_an_allowance_and_its_end_gives_none_back(self) -> None:
        limit(rate="1/h")
        submitted(50)
        [task] = take()
        settle("node", [failure(task)])
        assert take() == [], "the retry is ready"
        earlier(3601.0)
        assert [again.attempt for again in take()] == [2]

    def test_a_claim_that_finds_no_task_takes_no_allowance(self) -> None:
        limit(rate="1/h")
        assert take() == []
        assert Limit.objects.get().last_start is None
        submitted(50)
        assert len(take()) == 1

    def test_a_start_counts_from_its_moment_or_a_later_one(self) -> None:
        limit(rate="1/s")
        submitted(50)
        before = store().moment()
        [task] = take()
        row, after = Task.objects.get(pk=task.id), store().moment()
        last = Limit.objects.get().last_start
        assert last is not None and row.started_at is not None
        assert before[0] <= last <= after[0] and last - before[0] >= (row.started_at - before[1]).total_seconds() - 1e-3

    def test_a_type_without_an_allowance_is_left_out_before_the_best_of_all_are_chosen(self) -> None:
        limit("rated", rate="1/h")
        submitted(90, 90, task_type="rated")
        submitted(10, 10, task_type="free")
        both = frozenset({"rated"})
        ask = {"rated": 2, "free": 2}
        assert len(limited_claim(ask, cap=1, order="priority", limited=both).tasks) == 1
        claim = limited_claim(ask, cap=2, order="priority", limited=both)
        assert [task.task_type for task in claim.tasks] == ["free", "free"]

    def test_it_holds_beside_max_running(self) -> None:
        limit(rate="1/m", max_running=1)
        submitted(50, 50)
        [task] = take()
        earlier(61.0)
        assert take() == [], "one runs"
        settle("node", [success(task)])
        assert len(take()) == 1 and take() == []

    @pytest.mark.parametrize("how", ["set back", "of another boot"])
    def test_after_the_clock_was_changed_a_whole_interval_has_to_pass_from_the_next_look_on(self, how: str) -> None:
        limit(rate="6/m")
        submitted(50, 50)
        change = {"last_start": store().seconds() + 9e5, "clock": store().clock_id()}
        if how == "of another boot":
            change = {"last_start": store().seconds() - 9e5, "clock": "another"}
        Limit.objects.update(**change)
        assert store().on_hold("node").limits["echo"].seconds == 0.0, "a claim has to look"
        first = limited_claim({"echo": 1})
        assert first.tasks == [] and first.limits["echo"].seconds == pytest.approx(10.0, abs=1e-5)
        assert 9.0 < store().on_hold("node").limits["echo"].seconds <= 10.0
        earlier(10.1)
        assert len(take()) == 1

    def test_another_rate_counts_from_the_last_start(self) -> None:
        limit(rate="50/s")
        submitted(50, 50)
        assert len(take()) == 1
        limit(rate="1/h")
        assert take() == []
        earlier(3500.0)
        assert take() == []
        limit(rate="1/s")
        assert len(take()) == 1

    def test_nodes_read_when_the_next_task_may_start(self) -> None:
        limit(rate="6/m")
        assert store().on_hold("node").limits == {"echo": StartLimit(None, 0.0, True)}
        submitted(50)
        take()
        assert 9.0 < store().due_work("node").on_hold.limits["echo"].seconds <= 10.0


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("notifications")
def test_of_claims_at_the_same_time_one_takes_the_allowance() -> None:
    limit(rate="1/h")
    submitted(*[50] * 20)
    for _ in range(5):
        claims = together(*(lambda node=node: take(3, node) for node in "abcdef"))
        assert sum(map(len, claims)) == 1
        earlier(3601.0)
