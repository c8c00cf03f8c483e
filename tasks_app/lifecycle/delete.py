"""delete: (any status) -> gone. A settle that comes after it matches no row."""

from __future__ import annotations

from uuid import UUID

from tasks_app.metrics import counters
from tasks_app.models import Attempt, Task
from tasks_app.write_lock import writing


def delete(task_id: UUID) -> bool:
    """Remove a task and its attempts. A running one's container is stopped by its node within about a second."""
    with writing():
        # Locked: between the look and the delete nobody may settle it, or the count by status would be wrong.
        known = Task.objects.select_for_update().filter(pk=task_id).values_list("task_type", "status").first()
        if known is None:
            return False
        Attempt.objects.filter(task_id=task_id).delete()
        Task.objects.filter(pk=task_id).delete()
        counters.add([(f"deleted|{known[0]}|{known[1]}", 1)])
    return True
