"""promote: a pending row that is due becomes ready."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from tasks_app.queue import maintenance
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import promote
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.settle import settle
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
