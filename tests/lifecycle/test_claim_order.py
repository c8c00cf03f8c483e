"""The order of claims is exact: 0 inversions, whatever is claimed at once."""

from __future__ import annotations

import random

import pytest

from tasks_app.lifecycle import NewTask, submit_many
from tasks_app.lifecycle.claim import Selection
from tests.lifecycle.kit import take

pytestmark = pytest.mark.django_db
ORDERS: list[Selection] = ["fifo", "lifo", "priority"]


def expected(priorities: list[int], order: Selection) -> list[int]:
    """The positions of the tasks as they were submitted, in the order in which they are to start."""
    positions = list(range(len(priorities)))
    if order == "priority":
        return sorted(positions, key=lambda n: (-priorities[n], n))
    return positions[::-1] if order == "lifo" else positions


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("step", [1, 10])
def test_a_thousand_random_priorities_are_claimed_without_an_inversion(order: Selection, step: int) -> None:
    chance = random.Random(f"{order} {step}")
    priorities = [chance.randint(0, 100) for _ in range(1000)]
    ids = [str(identity) for identity in submit_many([NewTask("echo", {}, p) for p in priorities])]
    got: list[str] = []
    while batch := take(step, order=order):
        assert len(batch) == step
        got += [task.id for task in batch]
    assert got == [ids[n] for n in expected(priorities, order)]


@pytest.mark.parametrize("order", ORDERS)
def test_what_comes_between_two_claims_takes_its_right_place(order: Selection) -> None:
    chance = random.Random(order)
    ready: list[tuple[int, int, str]] = []
    place = 0
    for _ in range(60):
        fresh = [chance.randint(0, 100) for _ in range(chance.randint(0, 8))]
        for priority, identity in zip(fresh, submit_many([NewTask("echo", {}, p) for p in fresh]), strict=True):
            place += 1
            ready.append((priority, place, str(identity)))
        if order == "priority":
            ready.sort(key=lambda one: (-one[0], one[1]))
        else:
            ready.sort(key=lambda one: one[1], reverse=order == "lifo")
        count = chance.randint(1, 6)
        assert [task.id for task in take(count, order=order)] == [one[2] for one in ready[:count]]
        del ready[:count]
