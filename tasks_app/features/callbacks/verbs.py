"""Send callbacks anew: now, and with all tries before them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from tasks_app.audit import Actor, acting, record
from tasks_app.features.callbacks.models import Delivery, State

#: Callbacks that are sent anew in one transaction.
TOGETHER = 500


class NoCallbacks(Exception):
    """A task has none, or there is no such task."""

    def __init__(self, task: UUID) -> None:
        super().__init__(f"task {task} has no callbacks")


def again(rows: QuerySet[Delivery]) -> int:
    """Send these anew, in the caller's transaction, but for those that are being sent. Returns how many."""
    return rows.filter(~Q(status=State.PENDING) | Q(sender=None)).update(
        status=State.PENDING, tries=0, next_at=Now(), sender=None, ended_at=None
    )


def retry_deliveries(ids: Sequence[UUID], actor: Actor) -> int:
    """Send these callbacks anew. Returns how many will be: those that are being sent, or are gone, are left out."""
    return sum(_retry(ids[at : at + TOGETHER], actor) for at in range(0, len(ids), TOGETHER))


def _retry(ids: Sequence[UUID], actor: Actor) -> int:
    rows = Delivery.objects.filter(pk__in=ids)
    tasks = {str(task) for task in rows.values_list("task", flat=True)[:2]}
    # By the task, as are the other acts on what belongs to one.
    target = tasks.pop() if len(tasks) == 1 else "callbacks"
    return _recorded(rows, target, actor)


def retry(task: UUID, actor: Actor) -> int:
    """Send the callbacks of a task anew: those that are not delivered, and the newest. Returns how many will be.

    Raises NoCallbacks.
    """
    of_task = Delivery.objects.filter(task=task)
    newest = of_task.order_by("-created_at", "-pk").values_list("pk", flat=True).first()
    if newest is None:
        raise NoCallbacks(task)
    return _recorded(of_task.filter(~Q(status=State.DELIVERED) | Q(pk=newest)), str(task), actor)


def _recorded(rows: QuerySet[Delivery], target: str, actor: Actor) -> int:
    with acting(actor, target):
        if count := again(rows):
            record(actor, "retry_callbacks", target, count)
        return count
