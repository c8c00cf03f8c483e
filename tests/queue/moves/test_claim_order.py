"""The order of claims is exact, however many are claimed at once."""

from __future__ import annotations

import random

import pytest

from tasks_app.queue.attempt import Selection
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from tests.queue.moves.kit import take

pytestmark = pytest.mark.django_db
ORDERS: list[Selection] = ["fifo", "lifo", "priority"]


def expected(priorities: list[int], order: Selection) -> list[int]:
    """The indexes of the submitted tasks in the order in which they should start."""
    indexes = list(range(len(priorities)))
    if order == "priority":
        return sorted(indexes, key=lambda n: (-priorities[n], n))
    return indexes[::-1] if order == "lifo" else indexes


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
