"""expire: pending -> failed, when no node started the task in time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tasks_app.queue import maintenance
from tasks_app.queue.maintenance import EXPIRED_PER_TRANSACTION, expire
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from tests.queue.moves.kit import AT_ONCE, SLOW_RETRY, failure, release, row, running, submitted, take, together, total

pytestmark = pytest.mark.django_db

#: By the database's clock when it is written: no expiry of a task is before what scans of earlier tests have passed.
PAST, FUTURE = Now() - timedelta(seconds=1), Now() + timedelta(hours=1)


def test_a_task_that_was_not_started_in_time_fails_as_expired() -> None:
    late, early, timeless = submitted(50, 50, 50)
    Task.objects.filter(pk=late).update(expires_at=PAST)
    Task.objects.filter(pk=early).update(expires_at=FUTURE)
    assert expire() == 1
    now = row(late)
    assert (now.status, now.failure_reason, now.attempts) == ("failed", "expired", 0)
    assert now.completed_at is not None
    assert [row(identity).status for identity in (early, timeless)] == ["pending", "pending"]
    assert (total("failed", "echo", "expired"), Attempt.objects.count()) == (1, 0)
    assert expire() == 0


def test_a_task_that_runs_or_has_ended_does_not_expire() -> None:
    runs = running()
    ended = running()
    settle("node", [failure(ended, retryable=False)])
    Task.objects.update(expires_at=PAST)
    assert expire() == 0
    assert (row(runs).status, row(ended).failure_reason) == ("processing", "handler_error")


def test_a_task_that_waits_for_its_time_expires() -> None:
    (identity,) = submit_many([NewTask("echo", options=TaskOptions(delay=3600.0))])
    Task.objects.update(expires_at=PAST)
    assert expire() == 1
    assert (row(identity).failure_reason, row(identity).due, row(identity).due_at) == ("expired", None, None)


def test_a_task_that_has_been_started_does_not_expire() -> None:
    task = running(SLOW_RETRY)
    settle("node", [failure(task)])
    Task.objects.update(expires_at=PAST)
    assert expire() == 0
    assert row(task).status == "pending"


def test_a_task_whose_attempts_were_all_released_unread_expires() -> None:
    task = running()
    for _ in range(3):
        release("node", [task], "drained", unread=True)
        [task] = take()
    release("node", [task], "drained", unread=True)
    Task.objects.update(expires_at=PAST)
    assert take() == []
    assert expire() == 1
    assert (row(task).failure_reason, row(task).attempts) == ("expired", 4)


def test_a_task_that_is_released_unread_after_its_time_has_expired_by_then() -> None:
    task = running()
    Task.objects.update(expires_at=PAST)
    release("node", [task], "drained", unread=True)
    now = row(task)
    assert (now.status, now.failure_reason, now.attempts, now.unbegun_attempts) == ("failed", "expired", 1, 1)
    assert total("failed", "echo", "expired") == 1
    again = running()
    Task.objects.filter(pk=again.id).update(expires_at=PAST)
    release("node", [again], "drained")
    assert row(again).status == "pending"


def test_a_task_that_was_begun_once_does_not_expire_whatever_was_released_before_and_after() -> None:
    task = running()
    for unread in (True, False, True):
        release("node", [task], "drained", unread=unread)
        [task] = take()
    release("node", [task], "drained", unread=True)
    assert row(task).unbegun_attempts == 1
    Task.objects.update(expires_at=PAST)
    assert expire() == 0
    assert [one.id for one in take()] == [task.id]


def test_a_redrive_is_not_late_again() -> None:
    [identity] = submitted(50)
    Task.objects.update(expires_at=PAST)
    expire()
    assert redrive(identity)
    assert expire() == 0
    assert len(take(policy=AT_ONCE)) == 1


def test_more_than_one_batch_expires_in_one_call() -> None:
    count = 2 * EXPIRED_PER_TRANSACTION + 7
    submitted(*[50] * count)
    Task.objects.update(expires_at=PAST)
    with CaptureQueriesContext(connection) as queries:
        assert expire() == count
    assert len(queries) < 40, "the heartbeat does this"
    assert total("failed", "echo", "expired") == count


def test_a_call_on_a_slow_database_ends_after_the_batch_during_which_its_time_was_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitted(*[50] * (EXPIRED_PER_TRANSACTION + 7))
    Task.objects.update(expires_at=PAST)
    monkeypatch.setattr(maintenance, "MAX_SECONDS", 0.0)
    assert [expire(), expire(), expire()] == [EXPIRED_PER_TRANSACTION, 7, 0]


@pytest.mark.django_db(transaction=True)
def test_concurrent_expires_and_claims_move_each_task_once() -> None:
    submitted(*[50] * 200)
    Task.objects.update(expires_at=PAST)

    def claim_all() -> int:
        return sum(iter(lambda: len(take(3)), 0))

    assert sum(together(expire, claim_all, expire)) == 200
    assert total("failed", "echo", "expired") == Task.objects.filter(status="failed").count()
