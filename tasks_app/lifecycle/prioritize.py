"""prioritize: a pending task gets another priority."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db import transaction

from tasks_app import conf
from tasks_app.broker.notification import notify
from tasks_app.models import Status, Task
from tasks_app.store.current import store
from tasks_app.store.transactions import writing


def prioritize(task_id: UUID, priority: int) -> int | None:
    """Change the priority of a pending task. Returns the one that it had; None if there is no such pending task."""
    with writing():
        task = Task.objects.select_for_update().filter(pk=task_id, status=Status.PENDING).first()
        if task is None:
            return None
        prioritize_many([task], priority)
        return task.priority


def prioritize_many(tasks: Sequence[Task], priority: int) -> None:
    """Change the priority of pending tasks that the caller's write transaction has locked, in this order.

    A ready task goes to the back of its new level: claims skip the positions of a level at which nothing was ready. If
    the queue is not ordered by priority, it keeps its position.
    """
    moving = conf.environment().task_selection == "priority"
    ready = [task.pk for task in tasks if task.due is None and task.priority != priority] if moving else []
    positions = dict(zip(ready, store().next_positions(len(ready)), strict=True)) if ready else {}
    store().set_priority([(task.pk, positions.get(task.pk)) for task in tasks], priority)
    types = sorted({task.task_type for task in tasks if task.due is None})
    transaction.on_commit(partial(_notify_for, types, priority), robust=True)


def _notify_for(types: Sequence[str], priority: int) -> None:
    for name in types:
        notify(name, priority)
