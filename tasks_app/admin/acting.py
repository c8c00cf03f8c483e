"""What an operator can do to tasks, each through its verb of `lifecycle`, and in the log with who did it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.db import connection

from tasks_app.lifecycle import cancel, delete, redrive
from tasks_app.models import Status, Task
from tasks_app.write_lock import writing

#: Tasks that one click acts on; more are left for the next.
MOST = 10_000
#: Seconds after which one click stops, rather than have the browser give up on it.
LONGEST = 20.0
#: Tasks of one commit on SQLite: other writers wait for it.
GROUP = 20


@dataclass(frozen=True)
class Deed:
    """A verb, and its words. `permission`: Django's codename; `unless`: why it leaves a task alone."""

    name: str
    permission: str
    flag: int
    done: str
    unless: str
    fits: frozenset[str]
    explained: str
    verb: Callable[[UUID, str], bool]


DEEDS = {
    deed.name: deed
    for deed in (
        Deed(
            "redrive",
            "change",
            CHANGE,
            "redriven",
            "not failed",
            frozenset({Status.FAILED}),
            "They go to the back of their queue, with a new budget of retries.",
            lambda task_id, _: redrive(task_id),
        ),
        Deed(
            "cancel",
            "change",
            CHANGE,
            "cancelled",
            "ended already",
            frozenset({Status.PENDING, Status.PROCESSING}),
            "They fail with the reason “cancelled”; the containers of running ones are stopped, their results dropped.",
            lambda task_id, who: cancel(task_id, f"cancelled by {who}"),
        ),
        Deed(
            "delete",
            "delete",
            DELETION,
            "deleted",
            "gone already",
            frozenset(Status),
            "They are gone for good, with their attempts and logs; the containers of running ones are stopped.",
            lambda task_id, _: delete(task_id),
        ),
    )
}


@dataclass(frozen=True)
class Done:
    """What came of it: tasks moved, tasks left alone by the verb, tasks that time or number did not allow."""

    kept: int = 0
    left: int = 0
    not_tried: int = 0


def act(deed: Deed, user_id: int, who: str, task_id: UUID, task_type: str) -> bool:
    """Do it to one task. The move and the log's entry are one commit: neither is there without the other."""
    with writing():
        if not deed.verb(task_id, who):
            return False
        shown = Task(pk=task_id, task_type=task_type)
        LogEntry.objects.log_actions(user_id, [shown], deed.flag, deed.done.capitalize())
    return True


def act_on_all(deed: Deed, user_id: int, who: str, tasks: Sequence[tuple[UUID, str]]) -> Done:
    """Do it to (id, type) pairs, oldest first, a few in a commit."""
    until = time.monotonic() + LONGEST
    # SQLite has one writer, and a commit of it costs more than all the rest. A server's writers would wait for the
    # rows of the whole group, in an order of their own, and could end in a deadlock.
    size = GROUP if connection.vendor == "sqlite" else 1
    rows = sorted(tasks)
    kept = tried = 0
    for start in range(0, len(rows), size):
        if time.monotonic() > until:
            break
        group = rows[start : start + size]
        with writing():
            moved = sum(act(deed, user_id, who, *row) for row in group)
        kept, tried = kept + moved, tried + len(group)
    return Done(kept, tried - kept, len(rows) - tried)


def chosen(text: str) -> list[UUID]:
    """Ids from a form's field, at most MOST. Raises ValueError."""
    return [UUID(word) for word in text.split(",")[:MOST]]


def as_text(ids: Iterable[UUID]) -> str:
    """Ids for a form's field: one field however many, for Django limits their number."""
    return ",".join(one.hex for one in ids)
