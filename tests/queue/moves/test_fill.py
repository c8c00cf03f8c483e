"""A fill makes held tasks ready as far as the limits of their keys allow, whatever other sessions do."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest
from django.db import connection

from tasks_app.queue import fill as fills
from tasks_app.queue.attempt import Selection
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.current import store, writing
from tasks_app.queue.fill import fill
from tasks_app.queue.maintenance import promote
from tasks_app.queue.models import Task
from tasks_app.queue.permit_models import FillDue, HeldTask, Permit
from tasks_app.queue.redrive import prioritize, redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.sql import KeyLimit
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from tests.queue.moves.kit import AT_ONCE, SLOW_RETRY, failure, release, success, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def keyed(key: str, *priorities: int) -> list[UUID]:
    """Tasks with a key."""
    return submit_many([NewTask("echo", {}, priority, TaskOptions(limit_key=key)) for priority in priorities])


def filled(most: int | None, order: Selection = "fifo", ready: int | None = None) -> None:
    while fill({"echo": KeyLimit(most, ready)}, order):
        pass


def started(order: Selection = "fifo") -> list[UUID]:
    """The tasks that a claim takes, in its order."""
    return [UUID(task.id) for task in take(99, order=order)]


def test_no_more_tasks_of_a_key_become_ready_than_its_limit_allows() -> None:
    ada, bob = keyed("ada", 50, 50, 50), keyed("bob", 50)
    assert started() == []
    filled(2)
    [first, second, other] = take(99)
    assert [UUID(task.id) for task in (first, second, other)] == [*ada[:2], *bob]
    filled(2)
    assert started() == []
    settle("node", [success(first)])
    filled(2)
    assert started() == [ada[2]]


@pytest.mark.parametrize(("order", "first"), [("fifo", 0), ("lifo", 2), ("priority", 1)])
def test_the_best_of_a_key_becomes_ready_first(order: Selection, first: int) -> None:
    tasks = keyed("ada", 50, 90, 50)
    filled(1, order)
    assert started(order) == [tasks[first]]


@pytest.mark.parametrize(("order", "places"), [("fifo", [0, 1, 2]), ("lifo", [3, 2, 1]), ("priority", [1, 3, 0])])
def test_those_that_become_ready_together_start_in_their_order(order: Selection, places: list[int]) -> None:
    tasks = keyed("ada", 50, 90, 50, 70)
    filled(3, order)
    assert started(order) == [tasks[place] for place in places]


@pytest.mark.parametrize("order", ["lifo", "priority"])
def test_a_better_task_takes_the_place_of_one_that_has_not_started(order: Selection) -> None:
    [first] = keyed("ada", 50)
    filled(1, order)
    [second] = keyed("ada", 90)
    filled(1, order)
    assert started(order) == [second]
    [third] = keyed("ada", 100)
    filled(1, order)
    assert started(order) == [], "one that runs keeps its permit"
    cancel(second)
    assert cancel(third)
    fills_left()
    filled(1, order)
    assert started(order) == [first]


def fills_left() -> None:
    """The node says that the containers of cancelled tasks have ended."""
    with writing():
        fills.end_left([(left.task_id, left.attempt or 0) for left in Permit.objects.exclude(attempt=None)])


def test_under_lifo_a_later_fill_does_not_pass_a_newer_task() -> None:
    tasks = keyed("ada", *[50] * 4)
    filled(2, "lifo")
    [newest] = take(1, order="lifo")
    settle("node", [success(newest)])
    filled(2, "lifo")
    assert started("lifo") == [tasks[2], tasks[1]]


def test_tasks_of_several_keys_become_ready_in_the_order_of_their_acceptance() -> None:
    tasks = [each for key in ("b", "a", "c") for each in keyed(key, 50)]
    filled(1)
    assert started() == tasks


def test_of_a_fair_type_so_many_tasks_of_a_key_are_ready_whatever_runs() -> None:
    ada = keyed("ada", *[50] * 6)
    filled(None, ready=2)
    bob = keyed("bob", 50)
    filled(None, ready=2)
    assert started() == [*ada[:2], *bob]
    with writing():
        fills.note_types(["echo"])
    filled(None, ready=2)
    assert started() == ada[2:4]


@pytest.mark.parametrize("order", ["fifo", "priority"])
def test_a_fair_type_goes_round_over_its_keys(order: Selection) -> None:
    ada, bob = keyed("ada", *[50] * 4), keyed("bob", *[50] * 3)
    turns = []
    for _ in range(7):
        filled(1, order, ready=1)
        [task] = take(1, order=order)
        turns.append(UUID(task.id))
        settle("node", [success(task)])
    assert turns == [ada[0], bob[0], ada[1], bob[1], ada[2], bob[2], ada[3]]


def test_a_type_that_becomes_fair_holds_tasks_again_that_have_not_started() -> None:
    ada = keyed("ada", *[50] * 5)
    filled(None)
    bob = keyed("bob", 50)
    with writing():
        fills.note_types(["echo"])
    filled(None, ready=1)
    assert Task.objects.filter(pk__in=ada, due=None).count() == 1
    assert set(started()) == {ada[0], *bob}


def test_without_a_limit_all_tasks_of_a_key_become_ready() -> None:
    tasks = keyed("ada", *[50] * 20)
    filled(None)
    assert started() == tasks
    assert not HeldTask.objects.exists() and not FillDue.objects.exists()


def test_a_lower_limit_holds_tasks_again_that_have_not_started() -> None:
    tasks = keyed("ada", *[50] * 5)
    filled(None)
    [first] = take(1)
    with writing():
        assert fills.note_types(["echo"]) == 1
    filled(2)
    assert started() == [tasks[1]]
    settle("node", [success(first)])
    filled(2)
    assert started() == [tasks[2]]


def test_a_retry_without_a_pause_and_a_release_keep_the_permit() -> None:
    first, _ = keyed("ada", 50, 50)
    filled(1)
    [task] = take(1, policy=AT_ONCE)
    settle("node", [failure(task)])
    filled(1)
    [task] = take(9)
    assert UUID(task.id) == first
    release("node", [task], "a test")
    filled(1)
    assert started() == [first]


def test_a_pause_before_a_retry_gives_the_permit_up_and_keeps_the_order() -> None:
    first, second, _ = keyed("ada", 50, 50, 50)
    filled(1)
    [task] = take(9, policy=SLOW_RETRY)
    settle("node", [failure(task)])
    filled(1)
    [running] = take(9)
    assert UUID(running.id) == second
    Task.objects.filter(pk=first).update(due=store().now() - 1.0)
    promote()
    filled(1)
    assert started() == []
    settle("node", [success(running)])
    filled(1)
    assert started() == [first]


@pytest.mark.parametrize("act", [cancel, delete])
def test_a_permit_outlives_a_running_task_until_its_container_has_ended(act: object) -> None:
    first, second = keyed("ada", 50, 50)
    filled(1)
    [task] = take(9)
    assert callable(act) and act(first)
    filled(1)
    assert started() == []
    settle("node", [success(task)._replace(ended_by_verb=True)])
    filled(1)
    assert started() == [second]


@pytest.mark.parametrize("act", [cancel, delete])
def test_a_ready_task_that_ends_gives_its_permit_up_at_once(act: object) -> None:
    first, second = keyed("ada", 50, 50)
    filled(1)
    assert callable(act) and act(first)
    filled(1)
    assert started() == [second]


def test_a_redriven_task_waits_for_its_turn() -> None:
    first, second, third = keyed("ada", 50, 50, 50)
    filled(1)
    cancel(first)
    filled(1)
    assert redrive(first)
    filled(1)
    found = []
    for _ in range(3):
        [task] = take(9)
        found.append(UUID(task.id))
        settle("node", [success(task)])
        filled(1)
    assert found == [second, third, first]


def test_another_priority_counts_within_the_key() -> None:
    *_, third = keyed("ada", 50, 50, 50)
    filled(1, "priority")
    prioritize(third, 90)
    filled(1, "priority")
    assert started("priority") == [third]


def test_a_task_with_a_delay_is_held_once_its_time_has_come() -> None:
    [first] = keyed("ada", 50)
    filled(1)
    later = submit_many([NewTask("echo", {}, 50, TaskOptions(limit_key="ada", delay=60.0))])
    Task.objects.filter(pk__in=later).update(due=store().now() - 1.0)
    promote()
    filled(1)
    [task] = take(9)
    assert UUID(task.id) == first
    settle("node", [success(task)])
    filled(1)
    assert started() == later


def test_an_end_that_another_session_commits_during_a_fill_is_seen_by_the_next() -> None:
    first, second = keyed("ada", 50, 50)
    filled(1)
    assert started() == [first]
    if store().single_writer:
        pytest.skip("one writer at a time")
    began, may_commit = threading.Event(), threading.Event()

    def end() -> None:
        try:
            with writing():
                fills.end([first])
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
    assert started() == []
    filled(1)
    assert started() == [second]


@pytest.mark.parametrize("state", ["held", "ready"])
def test_a_task_that_another_program_has_ended_does_not_block_its_key(state: str) -> None:
    first, second = keyed("ada", 50, 50)
    if state == "ready":
        filled(1)
    ends = {"status": "failed", "failure_reason": "cancelled", "due": None, "completed_at": store().moment()[1]}
    Task.objects.filter(pk=first).update(**ends)
    assert fills.mend(fills.Looked(), 1000) == (fills.Looked(), [first])
    assert fills.mend(fills.Looked(), 1000) == (fills.Looked(), [])
    filled(1)
    assert started() == [second]


def test_held_tasks_are_looked_at_in_turn() -> None:
    first, second = keyed("ada", 50, 50)
    Task.objects.filter(pk=second).update(
        status="failed", failure_reason="cancelled", due=None, completed_at=store().moment()[1]
    )
    looked, found = fills.mend(fills.Looked(), 1)
    assert (looked.task, found) == (first, [])
    assert fills.mend(looked, 1)[1] == [second]
