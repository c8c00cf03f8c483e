"""The operators' actions on tasks: each calls a verb of `lifecycle` and is in the audit log with its user."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from tasks_app.audit.actor import Actor
from tasks_app.audit.bulk_line import BulkLine
from tasks_app.audit.record import record
from tasks_app.lifecycle import LivingTwin, cancel, delete, redrive
from tasks_app.models import Status
from tasks_app.store.current import store
from tasks_app.store.transactions import writing

#: Tasks that one click acts on.
MAX_ACTION_TASKS = 10_000
#: Types that the audit log names of an action on many tasks.
MAX_LOGGED_TYPES = 20
#: One click stops after this time, before the browser gives up.
MAX_ACTION_SECONDS = 20.0


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
            "They go to the back of their queue, with a new budget of retries.",
            lambda task_id, _: redrive(task_id),
        ),
        Action(
            "cancel",
            "change",
            "cancelled",
            "ended already",
            frozenset({Status.PENDING, Status.PROCESSING}),
            "They fail with the reason “cancelled”; the containers of running ones are stopped, their results dropped.",
            lambda task_id, who: cancel(task_id, f"cancelled by {who}"),
        ),
        Action(
            "delete",
            "delete",
            "deleted",
            "gone already",
            frozenset(Status),
            "They are removed for good, with their attempts and logs; the containers of running ones are stopped.",
            lambda task_id, _: delete(task_id),
        ),
    )
}


@dataclass(frozen=True)
class ActionResult:
    """Numbers of tasks: changed, skipped because their status did not fit or because a task that has not ended has
    their unique key, not tried for lack of time."""

    changed: int = 0
    skipped: int = 0
    twins: int = 0
    not_tried: int = 0


def act(task_action: Action, actor: Actor, task_id: UUID, task_type: str) -> bool:
    """Perform the action on one task, and record it in the same commit. False if the task did not fit.

    Raises LivingTwin if it is a redrive that would give a unique key to two tasks; that ends the transaction.
    """
    with writing():
        if not task_action.verb(task_id, actor.name):
            return False
        record(actor, task_action.name, str(task_id), type=task_type)
    return True


def act_on_all(task_action: Action, actor: Actor, tasks: Sequence[tuple[UUID, str]]) -> ActionResult:
    """Perform the action on (id, type) pairs, oldest first. The audit log has one line for all of them."""
    until = time.monotonic() + MAX_ACTION_SECONDS
    size = store().tasks_per_commit
    rows = sorted(tasks)
    line = BulkLine(actor, task_action.name, _target(rows), types=sorted({name for _, name in rows})[:MAX_LOGGED_TYPES])
    changed = twins = tried = alone = 0  # those before `alone` have a commit each
    while tried < len(rows) and time.monotonic() <= until:
        group = rows[tried : tried + (1 if tried < alone else size)]
        try:
            with writing():
                if moved := sum(task_action.verb(task_id, actor.name) for task_id, _ in group):
                    line.add(moved)
            changed += moved
        except LivingTwin:
            if len(group) > 1:  # nothing of the group was done
                alone = tried + len(group)
                continue
            twins += 1
        tried += len(group)
    return ActionResult(changed, tried - changed - twins, twins, len(rows) - tried)


def _target(rows: Sequence[tuple[UUID, str]]) -> str:
    return str(rows[0][0]) if len(rows) == 1 else "selected tasks"


def chosen(text: str) -> list[UUID]:
    """Ids from a form's field, at most MAX_ACTION_TASKS. Raises ValueError."""
    return [UUID(word) for word in text.split(",")[:MAX_ACTION_TASKS]]


def as_text(ids: Iterable[UUID]) -> str:
    """Ids for one form field. Django limits the number of fields."""
    return ",".join(one.hex for one in ids)
