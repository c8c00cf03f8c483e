"""A fill makes held tasks ready as far as the limits of their keys allow, whatever other sessions do."""

from __future__ import annotations

import threading
from collections import defaultdict
from uuid import UUID

import pytest
from django.db import connection

from tasks_app.queue import held
from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store, writing
from tasks_app.queue.fill import Key, Limits, fill, give_up, note
from tasks_app.queue.models import Task
from tasks_app.queue.permit_models import FillDue, HeldTask, Permit
from tests.queue.moves.kit import submitted, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def keyed(key: str, *priorities: int) -> list[UUID]:
    """Tasks with a key, as they are stored: held, and noted."""
    with writing():
        ids = submitted(*priorities)
        positions = dict(Task.objects.filter(pk__in=ids).values_list("pk", "position"))
        assert held.hold(ids) == len(ids)
        HeldTask.objects.bulk_create(
            HeldTask(task_id=each, task_type="echo", limit_key=key, priority=priority, position=positions[each])
            for each, priority in zip(ids, priorities, strict=True)
        )
        note([Key("echo", key)])
    return ids


def filled(most: int | None, order: Selection = "fifo") -> None:
    limits: Limits = {} if most is None else {"echo": most}
    while fill(lambda: limits, order):
        pass


def running() -> dict[str, list[UUID]]:
    """The tasks that run, by key, in the order of their claims."""
    keys = dict(Permit.objects.values_list("task_id", "limit_key"))
    found = defaultdict(list)
    for task in take(99):
        found[keys[UUID(task.id)]].append(UUID(task.id))
    return dict(found)


def ends(*tasks: UUID) -> None:
    with writing():
        give_up(tasks)


def test_no_more_tasks_of_a_key_become_ready_than_its_limit_allows() -> None:
    ada, bob = keyed("ada", 50, 50, 50), keyed("bob", 50)
    filled(2)
    assert running() == {"ada": ada[:2], "bob": bob}
    filled(2)
    assert running() == {}
    ends(ada[0])
    filled(2)
    assert running() == {"ada": [ada[2]]}


@pytest.mark.parametrize(("order", "first"), [("fifo", 0), ("lifo", 2), ("priority", 1)])
def test_the_best_of_a_key_becomes_ready_first(order: Selection, first: int) -> None:
    tasks = keyed("ada", 50, 90, 50)
    filled(1, order)
    assert running() == {"ada": [tasks[first]]}


def test_tasks_of_several_keys_become_ready_in_the_order_of_their_acceptance() -> None:
    tasks = [each for key in ("b", "a", "c") for each in keyed(key, 50)]
    filled(1)
    assert [UUID(task.id) for task in take(9)] == tasks


def test_without_a_limit_all_tasks_of_a_key_become_ready() -> None:
    tasks = keyed("ada", *[50] * 20)
    filled(None)
    assert running() == {"ada": tasks}
    assert not HeldTask.objects.exists() and not FillDue.objects.exists()


def test_an_end_that_another_session_commits_during_a_fill_is_seen_by_the_next() -> None:
    first, second = keyed("ada", 50, 50)
    filled(1)
    assert running() == {"ada": [first]}
    if store().single_writer:
        pytest.skip("one writer at a time")
    began, may_commit = threading.Event(), threading.Event()

    def end() -> None:
        try:
            with writing():
                give_up([first])
                began.set()
                assert may_commit.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=end)
    thread.start()
    assert began.wait(30)
    filled(1)
    may_commit.set()
    thread.join()
    assert running() == {}
    filled(1)
    assert running() == {"ada": [second]}
