"""delete: any status -> gone. A settle that comes later matches no row."""

from __future__ import annotations

from uuid import UUID

from tasks_app.lifecycle.group_failures import keep_ungrouped
from tasks_app.lifecycle.remove_rows import remove_rows
from tasks_app.metrics import counters
from tasks_app.models import Status, Task
from tasks_app.store.transactions import writing


def delete(task_id: UUID) -> bool:
    """Remove a task and its attempts; False if there is no such task.

    If the task runs, its node stops the container within about a second.
    """
    with writing():
        # Locked: a settle between the read and the delete would make the count by status wrong.
        found = Task.objects.select_for_update().filter(pk=task_id).values_list("task_type", "status").first()
        if found is None:
            return False
        task_type, status = found
        if status == Status.FAILED:
            keep_ungrouped(task_id)
        remove_rows([task_id])
        counters.add([(f"deleted|{task_type}|{status}", 1)])
    return True
