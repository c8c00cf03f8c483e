"""cancel: pending or processing -> failed, on request."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import still_held
from tasks_app.queue.maintenance import promote
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import (
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


def test_the_data_of_a_task_which_may_be_large_is_not_read() -> None:
    identity = row(running()).pk
    with CaptureQueriesContext(connection) as queries:
        assert cancel(identity)
    assert queries
    assert not [query["sql"] for query in queries if '"task_data"' in query["sql"] or '"result"' in query["sql"]]


def test_a_running_task_ends_with_its_attempt_and_is_taken_from_its_node() -> None:
    task = running()
    assert cancel(row(task).pk)
    now = row(task)
    assert (now.status, now.failure_reason, now.node, now.lease) == ("failed", "cancelled", None, None)
    assert still_held("node", [task.id]) == set()
    assert tries(task) == [(1, "cancelled")]
    assert Attempt.objects.get().ended_at == now.completed_at
    assert settle("node", [success(task)]) == set()
    assert (total("attempts", "echo", "cancelled"), total("stale", "echo"), total("completed")) == (1, 1, 0)


def test_its_node_adds_the_log_of_a_cancelled_attempt_once_and_nothing_else() -> None:
    task = running()
    cancel(row(task).pk, "not needed")
    result = AttemptResult(
        task, OutcomeKind.RELEASED, error="taken away", container="c1", stderr_tail="24 lines", ended_by_verb=True
    )
    assert settle("another", [result]) == settle("node", [result]) == {(task.id, 1)}
    settle("node", [result._replace(stderr_tail="too late", container="c2")])
    [attempt] = Attempt.objects.all()
    assert (attempt.outcome, attempt.error, attempt.container, attempt.stderr_tail) == (
        "cancelled",
        "not needed",
        "c1",
        "24 lines",
    )
    assert (row(task).status, row(task).failure_reason) == ("failed", "cancelled")
    assert (total("stale", "echo"), total("attempts", "echo", "released")) == (0, 0)


def test_the_log_of_a_result_that_came_after_the_cancel_is_kept_too() -> None:
    task, other = running(), running()
    cancel(row(task).pk)
    assert settle("node", [success(task)._replace(container="c1", stdout_tail="a log"), success(other)]) == {
        (other.id, 1)
    }
    assert Attempt.objects.get(task_id=task.id).stdout_tail == "a log"


def test_no_log_of_a_deleted_task_is_kept() -> None:
    task = running()
    delete(row(task).pk)
    settle("node", [AttemptResult(task, OutcomeKind.RELEASED, error="taken away", container="c1", ended_by_verb=True)])
    assert Attempt.objects.count() == 0


def test_a_task_that_waits_for_its_retry_does_not_come_back() -> None:
    task = running(SLOW_RETRY)
    settle("node", [failure(task)])
    assert cancel(row(task).pk)
    assert (row(task).due, row(task).due_at) == (None, None)
    assert promote() == []
    assert row(task).status == "failed"


def test_a_finished_task_cannot_be_cancelled() -> None:
    completed, failed = running(), running(NO_RETRY)
    settle("node", [success(completed), failure(failed)])
    for identity in (row(completed).pk, row(failed).pk, uuid4()):
        before = Task.objects.filter(pk=identity).values().first()
        assert not cancel(identity)
        assert Task.objects.filter(pk=identity).values().first() == before


@pytest.mark.django_db(transaction=True)
def test_concurrent_cancels_claims_and_settles_end_each_task_once() -> None:
    ids = submitted(*[50] * 60)

    def work() -> int:
        settled = 0
        while tasks := take(2):
            settled += len(settle("node", [success(task) for task in tasks]))
        return settled

    settled, cancelled = together(work, lambda: sum(cancel(identity) for identity in reversed(ids)))
    assert settled + cancelled == 60
    assert (total("completed"), total("failed", "echo", "cancelled")) == (settled, cancelled)
    assert not Task.objects.filter(status__in=("pending", "processing")).exists()
