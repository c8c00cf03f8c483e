"""What an operator or a caller does to one task, in the admin, by the API or by a command: a verb of `queue`, and its
line of the audit log, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from tasks_app.audit.record import Actor, acting, record
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.models import FITS, Task
from tasks_app.queue.redrive import prioritize, redrive

_UNFIT = {
    "redrive": "Task is {}; only a failed task can be redriven",
    "cancel": "Task is already {}; only a pending or processing task can be cancelled",
    "priority": "Task is {}; only the priority of a pending task can be changed",
}


class TaskUnfit(Exception):
    """The task has a status in which the act is not possible; the message names it."""


class TaskGone(TaskUnfit):
    """There is no such task."""


@contextmanager
def act_on_task(
    actor: Actor, verb: str, task_id: UUID, data: Mapping[str, Any] | None = None, priority: int | None = None
) -> Iterator[None]:
    """Redrive a task, also with other data or another priority; cancel or delete one; change a pending one's priority.

    The block of the `with` belongs to the transaction. Raises TaskGone, TaskUnfit, LivingTwin, and what `acting`
    raises; then nothing is done.
    """
    with acting(actor, task_id):
        # Locked, so that a refusal names the status by which it was refused.
        row = Task.objects.select_for_update().filter(pk=task_id).values_list("task_type", "status").first()
        if row is None:
            raise TaskGone("Task not found")
        task_type, status = row
        if status not in FITS[verb]:
            raise TaskUnfit(_UNFIT[verb].format(status))
        changed = None
        if verb == "redrive":
            changed = redrive(task_id, data, priority)
        elif verb == "priority":
            assert priority is not None
            changed = prioritize(task_id, priority)
        elif verb == "cancel":
            # Callers read the error of a task, and need not know the names of others' keys.
            cancel(task_id, "cancelled" if actor.via == "api" else f"cancelled by {actor}")
        else:
            delete(task_id)
        edited = verb == "redrive" and (data is not None or priority is not None)
        details = changed.details if changed else {}
        record(actor, "edit" if edited else verb, str(task_id), type=task_type, **details)
        yield
