"""The audit log: who did what, in the admin, by the API or by a command; and each act on one task, with its line."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models import F
from django.db.models.functions import Now

from tasks_app.process import ARMED, fail_point
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.current import writing
from tasks_app.queue.followed import locked
from tasks_app.queue.idempotency import remember_act
from tasks_app.queue.models import FITS, Task
from tasks_app.queue.redrive import prioritize, redrive
from tasks_app.queue.submission import IdempotencyKey


class AuditEntry(models.Model):
    """A line of the audit log. Only the `count` of a bulk act that goes on is ever changed."""

    at = models.DateTimeField()
    #: A user of the admin, the name of an API key, or a system account; no foreign key: it outlives them.
    actor = models.CharField(max_length=150)
    #: `admin`, `api` or `command`.
    via = models.CharField(max_length=10)
    action = models.CharField(max_length=40)
    #: The id of a task or an operation, or the name of a handler, a node or an API key.
    target = models.CharField(max_length=300)
    #: The number of tasks or things.
    count = models.BigIntegerField()
    details = models.JSONField(default=dict)

    class Meta:
        db_table = "taskdaemon_audit_entry"
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes: ClassVar = [
            models.Index(fields=("at", "id"), name="audit_entry_at"),
            models.Index(fields=("target", "at", "id"), name="audit_entry_of_target"),
            models.Index(fields=("actor", "at", "id"), name="audit_entry_of_actor"),
            models.Index(fields=("action", "at", "id"), name="audit_entry_of_action"),
            models.Index(fields=("via", "at", "id"), name="audit_entry_via"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"


# Who acts, and a line for an act.


class Actor(NamedTuple):
    """Who acts. `via`: `admin`, `api` or `command`. `name`: the user's, the API key's, or the system account's.

    `key`: of the request that asks for the act, if it may be repeated.
    """

    via: str
    name: str
    key: IdempotencyKey | None = None

    def __str__(self) -> str:
        return self.name


def system_account() -> Actor:
    """The account that this process runs as; its number if it has no name, as in many containers."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = f"uid {os.getuid()}"
    return Actor("command", name)


@contextmanager
def acting(actor: Actor, target: object) -> Iterator[None]:
    """The write transaction of an act on a task, an operation, a handler, a node.

    If the actor's request has an idempotency key, that is stored in it first, so that of two requests at once one acts.
    Raises ActRepeated, KeyReused or KeysContended. An act that is refused must raise, or roll back: then its key is not
    kept.
    """
    with writing():
        if actor.key is not None:
            remember_act(actor.key, str(target))
        yield
    if ARMED:
        fail_point("after_act_before_answer")


def record(actor: Actor, action: str, target: str, count: int = 1, **details: Any) -> int:
    """Write one line of the audit log, in the caller's transaction if there is one. Returns its id.

    `action`: a word such as `redrive` or `pause`. `target`: what it was done to: a task's id, a handler, a node, an
    operation. `count`: the number of tasks or things. `details`: JSON values that the page shows to users who may see
    payloads.
    """
    entry = AuditEntry.objects.create(
        at=Now(),
        actor=actor.name[:150],
        via=actor.via,
        action=action,
        target=target[:300],
        count=count,
        details=details,
    )
    return int(entry.pk)


def recount(target: str, action: str, count: int) -> None:
    """Let the line of an act that is over count what was done, in the transaction of its end."""
    AuditEntry.objects.filter(target=target, action=action).update(count=count)


def last_actor(target: str, action: str, *others: str, **details: Any) -> str | None:
    """Who did this to it last, by the lines with these details; None if one of the other actions came later, or if no
    line tells."""
    conditions = {f"details__{name}": value for name, value in details.items()}
    lines = AuditEntry.objects.filter(target=target, action__in=(action, *others), **conditions)
    last = lines.order_by("-at", "-id").first()
    return last.actor if last is not None and last.action == action else None


class BulkLine:
    """One line of the audit log for an act of many commits. If the act is cut short, it counts what was done."""

    def __init__(self, actor: Actor, action: str, target: str, **details: Any) -> None:
        self._actor, self._action, self._target, self._details = actor, action, target, details
        self._id: int | None = None

    def add(self, count: int) -> None:
        """Count more tasks, in the transaction that changes them. The first call writes the line."""
        if self._id is not None:
            line = AuditEntry.objects.filter(pk=self._id)
            if line.update(count=F("count") + count):
                return
        # No line yet, or its transaction was rolled back.
        self._id = record(self._actor, self._action, self._target, count, **self._details)


# What an operator or a caller does to one task: a verb of `queue` and its line, in one transaction.

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
        row = locked(Task.objects.filter(pk=task_id).values_list("task_type", "status"))
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
