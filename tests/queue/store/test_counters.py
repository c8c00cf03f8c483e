"""Counters (promise 14)."""

from __future__ import annotations

import random

import pytest

from tasks_app.queue.current import store
from tasks_app.queue.node_models import Counter, CounterDelta
from tests.queue.moves.kit import together, total
from tests.queue.store.kit import undone

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = [f"series {n}" for n in range(12)]


def test_14_writers_of_the_same_counters_lose_nothing_and_do_not_deadlock() -> None:
    """Threads increment the same counters, each in an order of its own."""

    def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            with store().writing():
                store().add_counts(dict.fromkeys(chance.sample(NAMES, len(NAMES)), 1))

    together(*[lambda seed=seed: write(seed) for seed in range(6)])
    assert [total(name) for name in NAMES] == [150] * 12


def test_14_increments_are_added_up_and_may_be_negative() -> None:
    with store().writing():
        store().add_counts({"a": 5, "b": 5, "c": 0})
    assert (total("a"), total("b"), total("c")) == (5, 5, 0)
    with store().writing():
        store().add_counts({"a": -4})
    assert total("a") == 1


def test_14_after_the_rows_have_gone_and_come_back_the_right_ones_are_incremented() -> None:
    for names in (["a", "b"], ["b", "a"], ["c", "a", "b"]):
        Counter.objects.all().delete()
        CounterDelta.objects.all().delete()
        with store().writing():
            store().add_counts(dict.fromkeys(names, 1))
        with store().writing():
            store().add_counts(dict.fromkeys(names, 10))
        assert {name: total(name) for name in names} == dict.fromkeys(names, 11)


def test_14_after_an_increment_that_was_undone_the_next_one_is_kept() -> None:
    with undone():
        store().add_counts({"a": 1})
    with store().writing():
        store().add_counts({"a": 1, "b": 1})
    assert (total("a"), total("b")) == (1, 1)
