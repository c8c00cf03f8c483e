"""A caller or an operator ends a task: cancel and delete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from tasks_app.queue.current import require_all, store, writing
from tasks_app.queue.followed import DELETED, Moved, leave, leaves_columns, locked, tell_followers
from tasks_app.queue.models import FINAL, Attempt, FailureReason, LiveEvent, Status, Task
from tasks_app.queue.settle import end_attempts
from tasks_app.runner.endings import OutcomeKind

# cancel: pending or processing -> failed.


def cancel(task_id: UUID, why: str = "cancelled") -> bool:
    """Fail a task that has not ended; False if there is no such task or it has ended.

    If it runs, its node notices within about a second, stops the container and drops the result.
    """
    living = Task.objects.filter(pk=task_id, status__in=(Status.PENDING, Status.PROCESSING))
    with writing():
        task = locked(living.defer("task_data", "result"))  # which may be large
        if task is None:
            return False
        cancel_many([task], why)
    return True


def cancelled(ids: Collection[str]) -> set[str]:
    """The ids of the tasks among these that were cancelled or deleted, and not redriven since."""
    others = Task.objects.filter(pk__in=ids).exclude(status=Status.FAILED, failure_reason=FailureReason.CANCELLED)
    return set(ids) - {str(identity) for identity in others.values_list("pk", flat=True)}


def cancel_many(tasks: Sequence[Task], why: str) -> None:
    """Fail pending and running tasks that the caller's write transaction has locked, after their followers' locks.

    Raises DatabaseError if one of them is not as it was read.
    """
    moved = (
        Task.objects.filter(pk__in=[task.pk for task in tasks])
        .exclude(status__in=FINAL)
        .update(
            status=Status.FAILED,
            failure_reason=FailureReason.CANCELLED,
            last_error=why,
            node=None,
            lease=None,
            due=None,
            due_at=None,
            completed_at=Now(),
        )
    )
    require_all(moved, len(tasks))
    _count(tasks, why)
    tell_followers(Moved.taken_away(task, Status.FAILED) for task in tasks if task.followed)


def _count(tasks: Sequence[Task], why: str) -> None:
    """Store the attempts that the cancel ended, and add to the counters. `tasks`: as they were before."""
    running = [task for task in tasks if task.status == Status.PROCESSING]
    end_attempts(running, OutcomeKind.CANCELLED, why, {}, final=True)
    counts = Counter(f"failed|{task.task_type}|{FailureReason.CANCELLED}" for task in tasks)
    counts.update(f"attempts|{task.task_type}|{OutcomeKind.CANCELLED}" for task in running)
    store().add_counts(counts)


# delete: any status -> gone. A settle that comes later matches no row.


def delete(task_id: UUID) -> bool:
    """Remove a task and its attempts; False if there is no such task.

    If the task runs, its node stops the container within about a second.
    """
    with writing():
        # Locked: a settle between the read and the delete would make the count by status wrong.
        task = locked(
            Task.objects.filter(pk=task_id).only("task_type", "followed", "attempts", "node", *leaves_columns())
        )
        if task is None:
            return False
        delete_many([task])
    return True


def delete_many(tasks: Sequence[Task]) -> None:
    """Remove tasks, as `cancel_many` needs them, with their attempts."""
    leave("delete", tasks)
    remove_rows([task.pk for task in tasks])
    store().add_counts(Counter(f"deleted|{task.task_type}|{task.status}" for task in tasks))
    ended = [task for task in tasks if task.followed and task.status not in FINAL]
    tell_followers(Moved.taken_away(task, DELETED) for task in ended)


def remove_rows(ids: Sequence[UUID]) -> None:
    """Remove tasks and everything that belongs to them, in the caller's transaction, which has locked them."""
    Attempt.objects.filter(task_id__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
    LiveEvent.objects.filter(task_id__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
    Task.objects.filter(pk__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
