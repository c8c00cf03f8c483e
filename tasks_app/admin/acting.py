"""What operators do to one task: each action calls a verb of `lifecycle` and is logged with its user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.contrib.admin.models import CHANGE, DELETION, LogEntry

from tasks_app.audit.actor import Actor
from tasks_app.audit.record import record
from tasks_app.lifecycle import cancel, delete, redrive
from tasks_app.models import Status, Task
from tasks_app.store.transactions import writing


@dataclass(frozen=True)
class Action:
    """An action and its texts. `permission`: Django's codename; `fits`: statuses; `unless`: why it skips a task."""

    name: str
    permission: str
    flag: int
    done: str
    unless: str
    fits: frozenset[str]
    explained: str
    verb: Callable[[UUID, str], bool]


ACTIONS = {
    task_action.name: task_action
    for task_action in (
        Action(
            "redrive",
            "change",
            CHANGE,
            "redriven",
            "not failed",
            frozenset({Status.FAILED}),
            "It goes to the back of its queue, with a new budget of retries.",
            lambda task_id, _: redrive(task_id),
        ),
        Action(
            "cancel",
            "change",
            CHANGE,
            "cancelled",
            "ended already",
            frozenset({Status.PENDING, Status.PROCESSING}),
            "It fails with the reason “cancelled”; if it runs, its container is stopped and its result dropped.",
            lambda task_id, who: cancel(task_id, f"cancelled by {who}"),
        ),
        Action(
            "delete",
            "delete",
            DELETION,
            "deleted",
            "gone already",
            frozenset(Status),
            "It is removed for good, with its attempts and logs; if it runs, its container is stopped.",
            lambda task_id, _: delete(task_id),
        ),
    )
}


def act(task_action: Action, user_id: int, who: str, task_id: UUID, task_type: str) -> bool:
    """Perform the action on one task, and log it in the same commit. False if the task did not fit.

    Raises LivingTwin if it is a redrive that would give a unique key to two tasks; that ends the transaction.
    """
    with writing():
        if not task_action.verb(task_id, who):
            return False
        log(user_id, task_id, task_type, task_action.flag, task_action.done.capitalize())
        record(Actor("admin", who), task_action.name, str(task_id), type=task_type)
    return True


def log(user_id: int, task_id: UUID, task_type: str, flag: int, message: str) -> None:
    """Add an action on a task to its history."""
    LogEntry.objects.log_actions(user_id, [Task(pk=task_id, task_type=task_type)], flag, message)
