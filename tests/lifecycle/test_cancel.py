"""cancel: pending or processing -> failed, because somebody said so."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tasks_app.lifecycle import cancel, held, promote, redrive, settle, submit
from tasks_app.models import Attempt, Task
from tests.lifecycle.kit import (
    NO_RETRY,
    SLOW_RETRY,
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


def test_a_task_that_waits_fails_as_cancelled_and_was_never_tried() -> None:
    identity = submit("echo")
    assert cancel(identity, "not needed")
    now = row(identity)
    assert (now.status, now.failure_reason, now.last_error, now.attempts) == ("failed", "cancelled", "not needed", 0)
    assert now.completed_at is not None
    assert take() == []
    assert (total("failed", "echo", "cancelled"), Attempt.objects.count()) == (1, 0)


def test_a_running_one_ends_with_its_attempt_and_is_taken_from_its_node() -> None:
    task = running()
    assert cancel(row(task).pk)
    now = row(task)
    assert (now.status, now.failure_reason, now.node, now.lease) == ("failed", "cancelled", None, None)
    assert held("node") == set()
    assert tries(task) == [(1, "cancelled")]
    assert settle("node", [success(task)]) == set()
    assert (total("attempts", "echo", "cancelled"), total("stale", "echo"), total("completed")) == (1, 1, 0)


def test_one_that_waits_for_its_retry_does_not_come_back() -> None:
    task = running(SLOW_RETRY)
    settle("node", [failure(task)])
    assert cancel(row(task).pk)
    assert (row(task).due, row(task).due_at) == (None, None)
    assert promote() == []
    assert row(task).status == "failed"


def test_what_has_ended_cannot_be_cancelled() -> None:
    done, broken = running(), running(NO_RETRY)
    settle("node", [success(done), failure(broken)])
    for identity in (row(done).pk, row(broken).pk, uuid4()):
        before = Task.objects.filter(pk=identity).values().first()
        assert not cancel(identity)
        assert Task.objects.filter(pk=identity).values().first() == before


def test_a_cancelled_task_can_be_redriven() -> None:
    task = running()
    cancel(row(task).pk)
    assert redrive(row(task).pk)
    [again] = take()
    assert (again.id, again.attempt) == (task.id, 2)


@pytest.mark.django_db(transaction=True)
def test_of_cancel_and_claim_and_settle_each_moment_has_one_winner() -> None:
    ids = submitted(*[50] * 60)

    def work() -> int:
        done = 0
        while tasks := take(2):
            done += len(settle("node", [success(task) for task in tasks]))
        return done

    done, cancelled = together(work, lambda: sum(cancel(identity) for identity in reversed(ids)))
    assert done + cancelled == 60
    assert (total("completed"), total("failed", "echo", "cancelled")) == (done, cancelled)
    assert not Task.objects.filter(status__in=("pending", "processing")).exists()
