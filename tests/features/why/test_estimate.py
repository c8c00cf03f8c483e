"""The estimate against queues that are simulated; the real ones are in tests/system/test_why.py."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from tasks_app.features.why.decide import estimate
from tasks_app.features.why.facts import Ended

CHANCE = random.Random(20)
TIMES: dict[str, Callable[[], float]] = {
    "all alike": lambda: 1.0,
    "from half to one and a half": lambda: CHANCE.uniform(0.5, 1.5),
    "mostly short, some long": lambda: CHANCE.expovariate(1.0),
}


def simulate(slots: int, count: int, took: Callable[[], float]) -> list[tuple[float, float]]:
    """The (start, end) of tasks that are all queued at 0, in the order of their starts."""
    free = [0.0] * slots
    found = []
    for _ in range(count):
        start = heapq.heappop(free)
        end = start + took()
        found.append((start, end))
        heapq.heappush(free, end)
    return found


@pytest.mark.parametrize("name", list(TIMES))
@pytest.mark.parametrize("slots", [1, 4, 16])
def test_nine_of_ten_are_within_a_factor_of_two(name: str, slots: int) -> None:
    """For tasks that have just arrived, and for those that have waited since the queue began."""
    ratios = []
    for _ in range(40):
        ran = simulate(slots, 600, TIMES[name])
        for _ in range(10):
            now = CHANCE.uniform(ran[200][0], ran[400][0])
            ended = sorted((Ended(end - start, now - end) for start, end in ran if end <= now), key=lambda e: e.ago)
            begun = sum(start <= now for start, _ in ran)
            # 0 to 10 rounds of the slots before it, but not fewer than three tasks: see the next test.
            before = CHANCE.randint(3, 10 * slots + 3)
            found = estimate(before, slots, CHANCE.choice((0.0, now)), ended[:500])
            assert found is not None
            ratios.append(found.seconds / (ran[begun + before][0] - now))
    good = sum(0.5 <= ratio <= 2.0 for ratio in ratios)
    assert good >= 0.9 * len(ratios), f"{good} of {len(ratios)}"


@pytest.mark.parametrize("slots", [1, 4])
def test_the_next_ones_are_exact_if_all_take_alike(slots: int) -> None:
    ran = simulate(slots, 100, lambda: 1.0)
    now = ran[40][0] + 0.25
    ended = sorted((Ended(1.0, now - end) for _, end in ran if end <= now), key=lambda e: e.ago)
    begun = sum(start <= now for start, _ in ran)
    for before in range(3 * slots):
        found = estimate(before, slots, 0.0, ended)
        assert found is not None and found.seconds == pytest.approx(ran[begun + before][0] - now)


def test_without_an_attempt_or_a_slot_nothing_is_said() -> None:
    assert estimate(3, 4, 100.0, []) is None
    assert estimate(3, 0, 100.0, [Ended(1.0, 1.0)]) is None


def test_a_pause_before_does_not_count() -> None:
    """A task has waited for an hour, most of it without a worker."""
    ended = [Ended(0.1, 0.05 + 0.05 * n) for n in range(100)]
    found = estimate(100, 2, 3600.0, ended)
    assert found is not None and found.seconds == pytest.approx(5.0, rel=0.1)
    assert found.source == "100 attempts of this type ended in the last 5.0 s, while this task waited"


def test_older_attempts_count_only_if_there_are_few_new_ones() -> None:
    old, new = [Ended(50.0, 400.0)] * 50, [Ended(2.0, 10.0)] * 9
    few = estimate(9, 1, 0.0, [*new, *old])
    assert few is not None and few.source == "the last 10 attempts of this type took 6.8 s on average; 1 slot"
    enough = estimate(9, 1, 0.0, [*new, Ended(2.0, 20.0), *old])
    assert enough is not None and enough.source == "the last 10 attempts of this type took 2.0 s on average; 1 slot"


def test_an_attempt_that_is_overdue_does_not_make_it_zero() -> None:
    found = estimate(0, 1, 0.0, [Ended(2.0, 60.0)])
    assert found is not None and found.seconds == 1.0
    assert found.source == "the last attempt of this type took 2.0 s; 1 slot"
