"""redrive: failed -> pending, at a new last position, with all its retries."""

from __future__ import annotations

from uuid import UUID

from django.db import IntegrityError, transaction

from tasks_app.broker.notification import notify
from tasks_app.lifecycle.group_failures import keep_ungrouped
from tasks_app.metrics import counters
from tasks_app.models import Status, Task
from tasks_app.store import clock
from tasks_app.store.current import store
from tasks_app.store.transactions import writing


class LivingTwin(Exception):
    """Another task of the type, `task`, has the same unique key and is not final."""

    def __init__(self, task: UUID) -> None:
        super().__init__(f"task {task} has the same type and unique_key and has not ended")
        self.task = task


def redrive(task_id: UUID) -> bool:
    """Make a failed task pending again; False if there is no such task or it has not failed.

    Its attempts go on counting; `last_error` stays until there is a newer one. Raises LivingTwin.
    """
    with writing():
        failed = Task.objects.filter(pk=task_id, status=Status.FAILED)
        found = failed.values_list("task_type", "priority", "unique_key", "failure_group").first()
        if found is None:
            return False
        task_type, priority, key, group = found
        if group is None:
            keep_ungrouped(task_id)
        if key is None:
            moved = _move(task_id)
        else:
            try:
                with transaction.atomic():
                    moved = _move(task_id)
            except IntegrityError:
                _refuse_beside_a_twin(task_type, key)
                raise
        if moved:
            counters.add([(f"redriven|{task_type}", 1)])
            transaction.on_commit(lambda: notify(task_type, priority), robust=True)
    return moved


def _refuse_beside_a_twin(task_type: str, key: str) -> None:
    twins = Task.objects.living_with_key().filter(task_type=task_type, unique_key=key)
    if (twin := twins.values_list("pk", flat=True).first()) is not None:
        raise LivingTwin(twin)


def _move(task_id: UUID) -> bool:
    moved = Task.objects.filter(pk=task_id, status=Status.FAILED).update(
        status=Status.PENDING,
        position=store().next_positions(1)[0],
        retries=0,
        failure_reason=None,
        failure_group=None,
        completed_at=None,
        due=None,
        due_at=None,
        expires_at=None,
        ready_at=clock.Now(),
    )
    return moved == 1
