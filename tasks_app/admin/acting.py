"""What operators do to one task: each action calls a verb of `lifecycle` and is in the audit log with its user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from tasks_app.audit.actor import Actor
from tasks_app.audit.record import record
from tasks_app.lifecycle import cancel, delete, redrive
from tasks_app.models import Status
from tasks_app.store.transactions import writing


@dataclass(frozen=True)
class Action:
    """An action and its texts. `permission`: Django's codename; `fits`: statuses; `unless`: why it skips a task."""

    name: str
    permission: str
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
            "redriven",
            "not failed",
            frozenset({Status.FAILED}),
            "It goes to the back of its queue, with a new budget of retries.",
            lambda task_id, _: redrive(task_id),
        ),
        Action(
            "cancel",
            "change",
            "cancelled",
            "ended already",
            frozenset({Status.PENDING, Status.PROCESSING}),
            "It fails with the reason “cancelled”; if it runs, its container is stopped and its result dropped.",
            lambda task_id, who: cancel(task_id, f"cancelled by {who}"),
        ),
        Action(
            "delete",
            "delete",
            "deleted",
            "gone already",
            frozenset(Status),
            "It is removed for good, with its attempts and logs; if it runs, its container is stopped.",
            lambda task_id, _: delete(task_id),
        ),
    )
}


def act(task_action: Action, actor: Actor, task_id: UUID, task_type: str) -> bool:
    """Perform the action on one task, and record it in the same commit. False if the task did not fit.

    Raises LivingTwin if it is a redrive that would give a unique key to two tasks; that ends the transaction.
    """
    with writing():
        if not task_action.verb(task_id, actor.name):
            return False
        record(actor, task_action.name, str(task_id), type=task_type)
    return True
