"""cancel: pending or processing -> failed, because somebody said so."""

from __future__ import annotations

from uuid import UUID

from tasks_app import clock
from tasks_app.metrics import counters
from tasks_app.models import Attempt, FailureReason, OutcomeKind, Status, Task
from tasks_app.write_lock import writing


def cancel(task_id: UUID, why: str = "cancelled") -> bool:
    """End a task that has not ended. Its node stops the container within about a second and the result is dropped.

    False when there is no such task or it had ended.
    """
    for _ in range(8):  # a claim or a settle may come between the look and the write: look again
        task = Task.objects.filter(pk=task_id, status__in=(Status.PENDING, Status.PROCESSING)).first()
        if task is None:
            return False
        if _end(task, why):
            return True
    return False


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
