"""redrive: failed -> pending, at the last position, with all its retries."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import transaction

from tasks_app.queue.models import Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tests.queue.moves.kit import (
    AT_ONCE,
    NO_RETRY,
    failure,
    row,
    running,
    submitted,
    success,
    take,
    together,
    total,
    tries,
)

pytestmark = pytest.mark.django_db


def failed() -> Task:
    task = running(NO_RETRY)
    settle("node", [failure(task, retryable=False)])
    return row(task)


def test_a_failed_task_becomes_pending() -> None:
    task = failed()
    assert redrive(task.pk)
    now = row(task.pk)
    assert (now.status, now.failure_reason, now.completed_at, now.due) == ("pending", None, None, None)
    assert now.ready_at > task.ready_at
    assert now.last_error == "it broke"
    assert total("redriven", "echo") == 1


def test_it_comes_last_within_its_priority() -> None:
    task = failed()
    Task.objects.filter(pk=task.pk).update(priority=70)
    low, equal, high = submitted(50, 70, 90)
    assert redrive(task.pk)
    assert [one.id for one in take(9, order="priority")] == [str(high), str(equal), str(task.pk), str(low)]


def test_it_has_all_its_retries_and_its_attempts_go_on_counting() -> None:
    task = running()
    for _ in range(4):
        settle("node", [failure(task)])
        task = (take() or [task])[0]
    assert row(task).failure_reason == "retries_exhausted"
    assert redrive(row(task).pk)
    assert (row(task).attempts, row(task).retries) == (4, 0)
    for number in range(5, 9):
        [task] = take(policy=AT_ONCE)
        assert (task.attempt, task.retries) == (number, number - 5)
        settle("node", [failure(task)])
    assert row(task).failure_reason == "retries_exhausted"
    assert tries(task) == [(n, "error") for n in range(1, 9)]
    assert total("failed", "echo", "retries_exhausted") == 2


def test_only_a_failed_task_is_redriven(notifications: list) -> None:
    completed = running()
    settle("node", [success(completed)])
    runs = running()
    ready = submit("echo")
    notifications.clear()
    for identity in (row(completed).pk, row(runs).pk, ready, uuid4()):
        before = Task.objects.filter(pk=identity).values().first()
        assert not redrive(identity)
        assert Task.objects.filter(pk=identity).values().first() == before
    assert notifications == []
    assert total("redriven") == 0


@pytest.mark.django_db(transaction=True)
def test_the_notification_is_sent_after_the_commit(notifications: list) -> None:
    task = failed()
    notifications.clear()
    with transaction.atomic():
        assert redrive(task.pk)
        assert notifications == []
    assert notifications == [("echo", 50)]


@pytest.mark.django_db(transaction=True)
def test_of_four_concurrent_redrives_one_counts() -> None:
    for _ in range(10):
        task = failed()
        done = together(*[lambda pk=task.pk: redrive(pk)] * 4)
        assert sum(each is not None for each in done) == 1
        take()
    assert total("redriven") == 10
