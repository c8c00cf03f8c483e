"""Why a task with a `limit_key` is held."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from django.db.models import Q

from tasks_app import conf
from tasks_app.features.limits.keyed import limits
from tasks_app.queue.permit_models import HeldTask, Permit

#: Tasks before a task are counted so far.
MAX_COUNTED = 10_000


def reasons(ids: Collection[UUID]) -> Mapping[UUID, str]:
    """By the id of each task that waits for a permit: why (`Feature.holds`)."""
    tasks = HeldTask.objects.filter(pk__in=ids)
    known = limits() if tasks else {}
    return {task.pk: _reason(task, known.get(task.task_type)) for task in tasks}


def _reason(task: HeldTask, most: int | None) -> str:
    if most is None:
        return f"it becomes ready in a moment: '{task.task_type}' has no max_running_per_key"
    same_key = {"task_type": task.task_type, "limit_key": task.limit_key}
    used = Permit.objects.filter(**same_key).count()
    before = HeldTask.objects.filter(_better(task), **same_key).order_by()[:MAX_COUNTED].count()
    place = f"{before:,} more" if before < MAX_COUNTED else f"{before:,} or more"
    first = "it is the next of its key" if not before else f"{place} of its key come first"
    if used < most:
        return f"{first}, and becomes ready in a moment" if not before else first
    return f"{used:,} of its limit_key run or are ready, and {most:,} may (max_running_per_key); {first}"


def _better(task: HeldTask) -> Q:
    order = conf.environment().task_selection
    if order == "lifo":
        return Q(position__gt=task.position)
    earlier = Q(position__lt=task.position)
    return earlier if order == "fifo" else Q(priority__gt=task.priority) | Q(priority=task.priority) & earlier
