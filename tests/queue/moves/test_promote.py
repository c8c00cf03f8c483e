"""promote: a pending row that is due becomes ready."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.db.models import F

from tasks_app.queue import maintenance
from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import promote
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.node_models import Turn
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from tests.queue.moves.kit import SLOW_RETRY, failure, row, submitted, take, together, total

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(minutes=1), NOW + timedelta(hours=1)


def scheduled(*priorities: int, task_type: str = "echo") -> list[str]:
    """Tasks whose retry is due much later."""
    submitted(*priorities, task_type=task_type)
    tasks = take(len(priorities), task_type=task_type, policy=SLOW_RETRY)
    settle("node", [failure(task) for task in tasks])
    Task.objects.waiting().update(due=store().now() + 3600.0, due_at=FUTURE)
    return [task.id for task in tasks]


def make_due(*ids: str) -> None:
    Task.objects.filter(pk__in=ids).update(due=store().now() - 0.001)


def test_a_due_row_becomes_ready_at_its_old_position(notifications: list) -> None:
    first, second = scheduled(50, 50)
    make_due(first)
    was_ready, position = row(first).ready_at, row(first).position
    notifications.clear()
    assert promote() == ["echo"]
    now = row(first)
    assert (now.status, now.due, now.due_at, now.position) == ("pending", None, None, position)
    assert now.ready_at > was_ready
    assert row(second).due is not None
    assert notifications == [("echo", 50)]
    [task] = take()
    assert (task.id, task.attempt, task.retries) == (first, 2, 1)


def test_without_due_rows_nothing_happens(notifications: list) -> None:
    scheduled(50, 50)
    notifications.clear()
    assert promote() == []
    assert take() == []
    assert notifications == []


def test_after_the_clock_was_set_back_retries_do_not_wait_for_it_and_delayed_tasks_do() -> None:
    stranded, pausing = scheduled(50, 50)
    Attempt.objects.update(ended_at=FUTURE - timedelta(seconds=30))
    Task.objects.filter(pk=pausing).update(due=store().now() + 50.0)
    [delayed] = submitted(50)
    Task.objects.filter(pk=delayed).update(due=store().now() + 3600.0, due_at=FUTURE)
    assert promote() == []
    assert promote(set_back=True) == ["echo"]
    assert [row(each).due is None for each in (stranded, pausing, delayed)] == [True, False, False]


def test_nor_do_retries_for_which_their_handlers_have_asked_to_wait() -> None:
    submitted(50, 50, 50)
    asked, briefly, backed_off = take(3, policy=SLOW_RETRY)
    settle("node", [failure(asked, retry_in=7200.0), failure(briefly, retry_in=30.0), failure(backed_off)])
    # Of the latter two, as if the clock had been set back by an hour since.
    later = timedelta(hours=1)
    for task in (briefly, backed_off):
        Task.objects.filter(pk=task.id).update(due=store().now() + 3600.0, due_at=F("due_at") + later)
        Attempt.objects.filter(task_id=task.id).update(ended_at=F("ended_at") + later)
    assert promote(set_back=True) == ["echo"]
    assert [row(each).due is None for each in (asked, briefly, backed_off)] == [False, True, True]


def test_each_type_is_notified_once_with_its_highest_priority(notifications: list) -> None:
    ids = [*scheduled(10, 80, 30, task_type="a"), *scheduled(5, task_type="b")]
    scheduled(99, task_type="c")
    make_due(*ids)
    notifications.clear()
    assert sorted(promote()) == ["a", "b"]
    assert sorted(notifications) == [("a", 80), ("b", 5)]


@pytest.mark.parametrize("boot", ["", "0 sorts before", "zzzz sorts after"])
def test_a_row_of_an_earlier_boot_is_due_by_the_wall_clock(boot: str) -> None:
    due, not_yet = scheduled(50, 50)
    # Times of another boot's clock mean nothing here: one is in the past, one in the future, and both are wrong.
    Task.objects.filter(pk=due).update(clock=boot, due=store().now() + 1e9, due_at=PAST)
    Task.objects.filter(pk=not_yet).update(clock=boot, due=store().now() - 1e9, due_at=FUTURE)
    assert promote() == ["echo"]
    assert row(due).due is None
    assert row(not_yet).due is not None


def test_more_than_one_batch_becomes_ready_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MAX_SECONDS", 60.0)  # on a busy machine a batch may take a second
    count = 2 * promote.__globals__["TASKS_PER_TRANSACTION"] + 7
    make_due(*scheduled(*[50] * count))
    assert promote() == ["echo"]
    assert len(take(count)) == count


def test_a_call_on_a_slow_database_ends_after_the_batch_during_which_its_time_was_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = promote.__globals__["TASKS_PER_TRANSACTION"]
    make_due(*scheduled(*[50] * (batch + 7)))
    monkeypatch.setattr(maintenance, "MAX_SECONDS", 0.0)
    promote()
    assert len(take(2 * batch)) == batch
    promote()
    assert len(take(2 * batch)) == 7


@pytest.mark.django_db(transaction=True)
def test_concurrent_promotes_make_each_task_ready_once() -> None:
    make_due(*scheduled(*[50] * 200))
    together(promote, promote, lambda: sum(iter(lambda: len(take(7)), 0)))
    promote()
    take(200)
    assert Task.objects.filter(status="processing", attempts=2).count() == 200
    assert total("retried") == 200


# The order in which rows become ready.


def accepted(*moments: datetime, priorities: Sequence[int] = ()) -> list[str]:
    """Tasks for later that are accepted one after another, with their `run_at`."""
    tasks = zip(moments, priorities or [50] * len(moments), strict=True)
    return [str(submit_many([NewTask("echo", {}, level, TaskOptions(run_at=at))])[0]) for at, level in tasks]


def shuffle(ids: Sequence[str], behind: float = 1.0) -> None:
    """Let these be due, each at another time on the store's clock: the last that was accepted is due first."""
    now = store().now()
    for number, identity in enumerate(ids):
        Task.objects.filter(pk=identity).update(due=now - behind - 0.0001 * number)


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_tasks_of_one_moment_run_in_the_order_of_their_acceptance(
    order: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TASKS_PER_TRANSACTION", 7)  # several batches
    levels = [10 + 80 * (number % 2) if order == "priority" else 50 for number in range(30)]
    ids = accepted(*[FUTURE] * 30, priorities=levels)
    shuffle(ids)
    assert promote() == ["echo"]
    started = [task.id for _ in ids for task in take(order=order)]
    best_first = sorted(range(30), key=lambda number: -levels[number])
    assert started == [ids[number] for number in (reversed(best_first) if order == "lifo" else best_first)]


def test_tasks_of_one_moment_become_ready_together_although_the_clock_says_that_some_are_due_a_little_later() -> None:
    first, second, other = accepted(FUTURE, FUTURE, FUTURE + timedelta(milliseconds=1))
    shuffle([second])
    Task.objects.filter(pk__in=[first, other]).update(due=store().now() + maintenance.SAME_MOMENT_SECONDS / 2)
    assert promote() == ["echo"]
    assert [task.id for task in take(3)] == [first, second]


def test_tasks_of_different_moments_run_in_the_order_of_their_moments_behind_those_that_were_ready() -> None:
    later, sooner = accepted(FUTURE, FUTURE - timedelta(minutes=1))
    [ready] = submitted(50)
    shuffle([sooner, later])
    assert promote() == ["echo"]
    assert [task.id for _ in range(3) for task in take()] == [str(ready), sooner, later]


def test_a_retry_keeps_its_position_among_tasks_of_its_moment() -> None:
    [retry] = scheduled(50)
    Task.objects.waiting().update(due_at=FUTURE)
    ids = accepted(FUTURE, FUTURE)
    before = row(retry).position
    shuffle([*ids, retry])
    assert promote() == ["echo"]
    assert row(retry).position == before
    assert [task.id for _ in range(3) for task in take()] == [retry, *ids]


def test_tasks_that_were_accepted_before_a_reboot_run_before_later_ones_of_their_moment() -> None:
    before, after = accepted(PAST + timedelta(hours=2), PAST + timedelta(hours=2))
    Task.objects.filter(pk=before).update(clock="0 an earlier boot", due=1.0)
    Task.objects.update(due_at=PAST)
    shuffle([after])
    assert promote() == ["echo"]
    assert [task.id for _ in range(2) for task in take()] == [before, after]


@pytest.mark.django_db(transaction=True)
def test_one_node_promotes_at_a_time() -> None:
    if store().single_writer:
        pytest.skip("on SQLite all writes take turns")
    ids = accepted(FUTURE, FUTURE)
    shuffle(ids)
    Turn.objects.create(name=maintenance.PROMOTION, node="", until=0.0, clock="")
    with transaction.atomic():
        Turn.objects.select_for_update().get(name=maintenance.PROMOTION)
        assert together(promote) == [[]]
    assert promote() == ["echo"]
    assert [task.id for _ in range(2) for task in take()] == ids
