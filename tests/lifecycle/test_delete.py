"""delete: from any status; nothing of the task is left, and no later write brings it back."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tasks_app.lifecycle import cancel, delete, held, redrive, release, rescue, settle, submit
from tasks_app.models import Attempt, Task
from tests.lifecycle.kit import NO_RETRY, SLOW_RETRY, failure, row, running, submitted, success, take, together, total

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
    word = row(identity).status
    assert delete(identity)
    assert (Task.objects.count(), Attempt.objects.count()) == (0, 0)
    assert total("deleted", "echo", word) == 1
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


def test_what_comes_after_a_delete_matches_no_row() -> None:
    task = running()
    identity = row(task).pk
    assert delete(identity)
    assert settle("node", [success(task)]) == set()
    assert release("node", [task], "drained") == set()
    assert held("node") == set()
    assert rescue(["node"]) == 0
    assert (redrive(identity), cancel(identity)) == (False, False)
    assert total("stale", "echo") == 2
    assert (Task.objects.count(), Attempt.objects.count()) == (0, 0)


def test_an_id_that_is_nobodys_is_no_task() -> None:
    assert not delete(uuid4())


@pytest.mark.django_db(transaction=True)
def test_of_delete_and_settle_the_counters_tell_who_came_first() -> None:
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
