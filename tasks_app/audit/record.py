"""Who acts, and what the audit log says of it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db.models import F
from django.db.models.functions import Now

from tasks_app.audit.models import AuditEntry
from tasks_app.process.fail_points import ARMED, fail_point
from tasks_app.queue.current import writing
from tasks_app.queue.idempotency import remember_act
from tasks_app.queue.submission import IdempotencyKey


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
        """See `record`."""
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
