"""Insert and positions (promises 6 and 15)."""

from __future__ import annotations

from itertools import pairwise
from uuid import uuid4

import pytest
from django.db import DatabaseError

from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.submission import NewTask
from tests.queue.moves.kit import together, total
from tests.queue.store.kit import insert, positions

pytestmark = pytest.mark.django_db(transaction=True)


def test_6_all_tasks_are_stored_with_their_ids_texts_and_counters() -> None:
    new = [NewTask("a", {"n": "ü"}, 0), NewTask("b", {"n": {}}, 100), NewTask("a", {}, 7)]
    keys = [uuid4() for _ in new]
    with store().bare_writing(one_statement=True):
        store().insert(new, keys)
    rows = list(Task.objects.order_by("position"))
    assert [(one.pk, one.task_type, one.priority) for one in rows] == [
        (key, each.task_type, each.priority) for key, each in zip(keys, new, strict=True)
    ]
    assert [one.task_data for one in rows] == [{"n": "ü"}, {"n": {}}, {}]
    assert [one.task_data_size for one in rows] == [10, 8, 2]
    assert {(one.status, one.due, one.attempts, one.retries) for one in rows} == {("pending", None, 0, 0)}
    assert all(one.created_at == one.ready_at for one in rows)
    assert (total("received", "a"), total("received", "b"), total("received")) == (2, 1, 3)


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("bare", [False, True])
def test_6_if_one_task_is_refused_none_is_stored_or_counted(bad: int, bare: bool) -> None:
    new = [NewTask("echo", {}, 101 if n == bad else 50) for n in range(3)]
    with pytest.raises(DatabaseError):
        with store().bare_writing(one_statement=True) if bare else store().writing():
            store().insert(new, [uuid4() for _ in new])
    assert not Task.objects.exists()
    assert total("received") == 0


def test_6_positions_follow_the_order_of_the_tasks() -> None:
    keys = [*insert(*range(100, 0, -1)), *insert(50), *insert(1, 99)]
    assert all(one < other for one, other in pairwise(positions(*keys)))


def test_15_each_position_is_given_out_once() -> None:
    def give(count: int) -> list[int]:
        found: list[int] = []
        for _ in range(25):
            with store().writing():
                found += store().next_positions(count)
        return found

    shares = together(*[lambda count=count: give(count) for count in (1, 2, 3, 4)])
    found = [position for share in shares for position in share]
    assert len(set(found)) == len(found) == 250


def test_15_a_position_is_higher_than_all_before() -> None:
    [before] = positions(*insert(50))
    with store().writing():
        given = list(store().next_positions(3))
    [after] = positions(*insert(50))
    assert [before, *given, after] == sorted({before, *given, after})
    assert len(given) == 3


def test_15_positions_of_inserts_in_threads_are_all_different() -> None:
    together(*[lambda: [insert(50, 50, 50) for _ in range(15)]] * 4)
    assert Task.objects.values("position").distinct().count() == total("received") == 180
