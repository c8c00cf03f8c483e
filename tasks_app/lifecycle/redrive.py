"""redrive: failed -> pending, at the back of its level, with a new budget of retries."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from tasks_app import clock
from tasks_app.broker.bell import ring
from tasks_app.lifecycle.place import next_places
from tasks_app.metrics import counters
from tasks_app.models import Status, Task
from tasks_app.write_lock import writing


def redrive(task_id: UUID) -> bool:
    """Give a failed task another life. False when there is no such task or it is not failed.

    Its attempts go on counting; `last_error` stays until there is a newer one.
    """
    with writing():
        known = Task.objects.filter(pk=task_id, status=Status.FAILED).values_list("task_type", "priority").first()
        if known is None:
            return False
        moved = Task.objects.filter(pk=task_id, status=Status.FAILED).update(
            status=Status.PENDING,
            place=next_places(1)[0],
            retries=0,
            failure_reason=None,
            completed_at=None,
            due=None,
            due_at=None,
            expires_at=None,
            ready_at=clock.Now(),
        )
        if moved:
            counters.add([(f"redriven|{known[0]}", 1)])
            transaction.on_commit(lambda: ring(*known), robust=True)
    return moved == 1
