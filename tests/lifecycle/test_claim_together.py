"""Claimers of one moment: never the same row, and no inversion as contract section 2 defines it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tasks_app.lifecycle import NewTask, Want, claim, submit_many
from tasks_app.lifecycle.claim import Selection
from tests.lifecycle.kit import AT_ONCE, together

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Start:
    """One claimed task, with the moments between which its claim was made."""

    id: str
    key: tuple[int, int]
    began: float
    ended: float


def key_of(order: Selection) -> Callable[[int, int], tuple[int, int]]:
    if order == "priority":
        return lambda priority, place: (-priority, place)
    return (lambda _, place: (0, place)) if order == "fifo" else (lambda _, place: (0, -place))


def until_empty(node: str, types: list[str], step: int, order: Selection, cap: int | None) -> list[Start]:
    starts: list[Start] = []
    key = key_of(order)
    while True:
        began = time.monotonic()
        got = claim(node, [Want(name, step, AT_ONCE) for name in types], order, cap)
        ended = time.monotonic()
        if not got:
            return starts
        starts += [Start(task.id, key(task.priority, task.place), began, ended) for task in got]


def inversions(starts: list[Start]) -> int:
    """Pairs of which the worse one's claim ended before the better one's began; all were ready before the first."""
    by_begin = sorted(starts, key=lambda start: start.began)
    return sum(1 for worse in starts for better in by_begin if better.key < worse.key and worse.ended < better.began)


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
@pytest.mark.parametrize(("claimers", "step"), [(2, 1), (4, 5)])
def test_claimers_in_threads_share_the_rows_without_an_inversion(order: Selection, claimers: int, step: int) -> None:
    chance = random.Random(f"{order} {claimers}")
    ids = submit_many([NewTask("echo", {}, chance.randint(0, 100)) for _ in range(300)])
    shares = together(*[lambda n=n: until_empty(f"node{n}", ["echo"], step, order, None) for n in range(claimers)])
    starts = [start for share in shares for start in share]
    assert sorted(start.id for start in starts) == sorted(map(str, ids))
    assert inversions(starts) == 0


@pytest.mark.parametrize("order", ["fifo", "priority"])
def test_capped_claimers_in_threads_share_the_rows_of_all_types_without_an_inversion(order: Selection) -> None:
    chance = random.Random(order)
    types = ["a", "b", "c"]
    ids = submit_many([NewTask(chance.choice(types), {}, chance.randint(0, 100)) for _ in range(300)])
    shares = together(*[lambda n=n: until_empty(f"node{n}", types, 5, order, 5) for n in range(4)])
    starts = [start for share in shares for start in share]
    assert len({start.id for start in starts}) == len(starts)
    # A claimer that met only rows which others were taking may have ended early; the others went on.
    assert sorted(start.id for start in starts) == sorted(map(str, ids))
    assert inversions(starts) == 0
