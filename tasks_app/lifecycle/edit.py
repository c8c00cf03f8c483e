"""edit and redrive: failed -> pending, with other data and another priority. Its attempts stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from tasks_app.lifecycle.redrive import redrive
from tasks_app.models import Status, Task
from tasks_app.runner.json_size import stored_size
from tasks_app.store.new_task import encode
from tasks_app.store.transactions import writing


class Edited(NamedTuple):
    """What a task had before."""

    task_data: Any
    priority: int


def edit_and_redrive(task_id: UUID, task_data: Mapping[str, Any], priority: int) -> Edited | None:
    """Change a failed task's data and priority, and redrive it; None if there is no such task or it has not failed.

    Raises LivingTwin; that ends the transaction.
    """
    with writing():
        # Locked: the data must not change between the read and the write.
        failed = Task.objects.select_for_update().filter(pk=task_id, status=Status.FAILED)
        found = failed.values_list("task_data", "priority").first()
        if found is None:
            return None
        changes: dict[str, Any] = {"priority": priority}
        if encode(found[0]) != (text := encode(task_data)):  # not as Python compares: 1 equals true there
            changes |= {"task_data": dict(task_data), "task_data_size": stored_size(text)}
        Task.objects.filter(pk=task_id, status=Status.FAILED).update(**changes)
        redrive(task_id)
    return Edited(*found)
