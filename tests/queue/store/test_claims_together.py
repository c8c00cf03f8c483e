"""Concurrent claims: never the same task, and no inversion (promises 7 and 8)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tasks_app.queue.attempt import ClaimRequest, Selection
from tasks_app.queue.current import store
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from tests.queue.moves.kit import AT_ONCE, together

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Start:
    """One claimed task, with the beginning and the end of its claim."""

    id: str
    key: tuple[int, int]
    began: float
    ended: float


def key_of(order: Selection) -> Callable[[int, int], tuple[int, int]]:
    if order == "priority":
        return lambda priority, position: (-priority, position)
    return (lambda _, position: (0, position)) if order == "fifo" else (lambda _, position: (0, -position))


def until_empty(node: str, types: list[str], step: int, order: Selection, cap: int | None) -> list[Start]:
    starts: list[Start] = []
    key = key_of(order)
    while True:
        began = time.monotonic()
        got = store().take_ready(node, [ClaimRequest(name, step, AT_ONCE) for name in types], order, cap, 30.0)
        ended = time.monotonic()
        if not got:
            return starts
        starts += [Start(task.id, key(task.priority, task.position), began, ended) for task in got]


def inversions(starts: list[Start]) -> int:
    """Count the pairs whose worse task was claimed before the claim of the better one began."""
    by_begin = sorted(starts, key=lambda start: start.began)
    return sum(1 for worse in starts for better in by_begin if better.key < worse.key and worse.ended < better.began)


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
@pytest.mark.parametrize(("claimers", "step"), [(2, 1), (4, 5)])
def test_7_and_8_claimers_share_the_rows_without_an_inversion(order: Selection, claimers: int, step: int) -> None:
    chance = random.Random(f"{order} {claimers}")
    ids = submit_many([NewTask("echo", {}, chance.randint(0, 100)) for _ in range(300)])
    shares = together(*[lambda n=n: until_empty(f"node{n}", ["echo"], step, order, None) for n in range(claimers)])
    starts = [start for share in shares for start in share]
    assert sorted(start.id for start in starts) == sorted(map(str, ids))
    assert inversions(starts) == 0


@pytest.mark.parametrize("order", ["fifo", "priority"])
def test_7_and_8_capped_claimers_share_the_rows_of_all_types_without_an_inversion(order: Selection) -> None:
    chance = random.Random(order)
    types = ["a", "b", "c"]
    ids = submit_many([NewTask(chance.choice(types), {}, chance.randint(0, 100)) for _ in range(300)])
    shares = together(*[lambda n=n: until_empty(f"node{n}", types, 5, order, 5) for n in range(4)])
    starts = [start for share in shares for start in share]
    assert len({start.id for start in starts}) == len(starts)
    # A claimer that found only rows which others were claiming may have ended early; the others went on.
    assert sorted(start.id for start in starts) == sorted(map(str, ids))
    assert inversions(starts) == 0
