"""redrive: failed -> pending, at a new last position, with all its retries."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from tasks_app.broker.notification import notify
from tasks_app.metrics import counters
from tasks_app.models import Status, Task
from tasks_app.store import clock
from tasks_app.store.current import store
from tasks_app.store.transactions import writing


def redrive(task_id: UUID) -> bool:
    """Make a failed task pending again; False if there is no such task or it has not failed.

    Its attempts go on counting; `last_error` stays until there is a newer one.
    """
    with writing():
        found = Task.objects.filter(pk=task_id, status=Status.FAILED).values_list("task_type", "priority").first()
        if found is None:
            return False
        moved = Task.objects.filter(pk=task_id, status=Status.FAILED).update(
            status=Status.PENDING,
            position=store().next_positions(1)[0],
            retries=0,
            failure_reason=None,
            completed_at=None,
            due=None,
            due_at=None,
            expires_at=None,
            ready_at=clock.Now(),
        )
        if moved:
            task_type, priority = found
            counters.add([(f"redriven|{task_type}", 1)])
            transaction.on_commit(lambda: notify(task_type, priority), robust=True)
    return moved == 1
