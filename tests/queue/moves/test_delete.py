"""delete: any status -> gone; no later write brings the task back."""

from __future__ import annotations

from uuid import UUID

import pytest

from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue, still_held
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tests.queue.moves.kit import (
    NO_RETRY,
    SLOW_RETRY,
    failure,
    release,
    row,
    running,
    submitted,
    success,
    take,
    together,
    total,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", ["pending", "waiting", "processing", "completed", "failed"])
def test_a_task_is_deleted_in_any_status_and_counted_by_it(status: str) -> None:
    if status == "pending":
        identity = submit("echo")
    else:
        task = running(NO_RETRY if status == "failed" else SLOW_RETRY)
        identity = row(task).pk
        if status == "completed":
            settle("node", [success(task)])
        elif status in ("failed", "waiting"):
            settle("node", [failure(task)])
    old_status = row(identity).status
    assert delete(identity)
    assert (Task.objects.count(), Attempt.objects.count()) == (0, 0)
    assert total("deleted", "echo", old_status) == 1
    assert not delete(identity)
    assert total("deleted") == 1


def test_all_its_attempts_go_with_it_and_no_others() -> None:
    task = running()
    settle("node", [failure(task)])
    [again] = take()
    settle("node", [success(again)])
    other = running()
    settle("node", [success(other)])
    assert delete(row(task).pk)
    assert list(Attempt.objects.values_list("task_id", flat=True)) == [row(other).pk]


def test_a_verb_after_a_delete_matches_no_row() -> None:
    task = running()
    identity = row(task).pk
    assert delete(identity)
    assert settle("node", [success(task)]) == set()
    assert release("node", [task], "drained") == set()
    assert still_held("node", [task.id]) == set()
    assert rescue(["node"]) == 0
    assert (redrive(identity), cancel(identity)) == (None, False)
    assert total("stale", "echo") == 2
    assert (Task.objects.count(), Attempt.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_the_counters_tell_whether_a_delete_or_a_settle_came_first() -> None:
    submitted(*[50] * 80)
    tasks = take(80)
    together(
        lambda: [settle("node", [success(task)]) for task in tasks],
        lambda: [delete(UUID(task.id)) for task in reversed(tasks)],
        lambda: [delete(UUID(task.id)) for task in reversed(tasks)],
    )
    assert (Task.objects.count(), Attempt.objects.count()) == (0, 0)
    assert total("deleted") == 80
    assert total("deleted", "echo", "completed") == total("completed")
    assert total("deleted", "echo", "processing") == total("stale")
