"""cancel: pending or processing -> failed, on request."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from tasks_app.metrics import counters
from tasks_app.models import Attempt, FailureReason, OutcomeKind, Status, Task
from tasks_app.store import clock
from tasks_app.store.transactions import writing

#: A claim or a settle may come between the read and the write.
MAX_TRIES = 8


def cancel(task_id: UUID, why: str = "cancelled") -> bool:
    """Fail a task that has not ended; False if there is no such task or it has ended.

    If it runs, its node notices within about a second, stops the container and drops the result.
    """
    for _ in range(MAX_TRIES):
        task = Task.objects.filter(pk=task_id, status__in=(Status.PENDING, Status.PROCESSING)).first()
        if task is None:
            return False
        if _end(task, why):
            return True
    return False


def cancelled(ids: Collection[str]) -> set[str]:
    """Of these tasks, the ids of those that were cancelled or deleted, and not redriven since."""
    others = Task.objects.filter(pk__in=ids).exclude(status=Status.FAILED, failure_reason=FailureReason.CANCELLED)
    return set(ids) - {str(identity) for identity in others.values_list("pk", flat=True)}


def _end(task: Task, why: str) -> bool:
    with writing():
        moved = Task.objects.filter(pk=task.pk, status=task.status, attempts=task.attempts).update(
            status=Status.FAILED,
            failure_reason=FailureReason.CANCELLED,
            last_error=why,
            node=None,
            lease=None,
            due=None,
            due_at=None,
            completed_at=clock.Now(),
        )
        if not moved:
            return False
        deltas = [(f"failed|{task.task_type}|{FailureReason.CANCELLED}", 1)]
        if task.status == Status.PROCESSING:
            Attempt.objects.create(
                task_id=task.pk,
                number=task.attempts,
                node=task.node or "",
                started_at=task.started_at or clock.Now(),
                wait_seconds=task.wait_seconds,
                ended_at=clock.Now(),
                outcome=OutcomeKind.CANCELLED,
                error=why,
            )
            deltas.append((f"attempts|{task.task_type}|{OutcomeKind.CANCELLED}", 1))
        counters.add(deltas)
    return True
