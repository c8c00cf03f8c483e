"""fill: held -> ready, as far as the limits by key allow; and all that gives and ends permits of keys.

Every task with a `limit_key` is stored held, and only a fill knows limits. A transaction that stores such a task, or
that ends one which had a permit, says in a row of its own that the key is due, which locks nothing. One fill at a time
works over all nodes: it waits for the lock, and reads permits in a statement that begins once it has it. So it sees the
permits of every fill before it. It counts a permit that is given up at the same time: the row that says so comes with
that commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from tasks_app.broker.notification import notify_types
from tasks_app.queue import held
from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store, writing
from tasks_app.queue.models import Status, Task
from tasks_app.queue.permit_models import FillDue, HeldTask, Permit
from tasks_app.queue.sql import MOST_FILLED, KeyLimits


def fill(limits: KeyLimits, order: Selection) -> bool:
    """Make the best held tasks of keys that are due ready. Returns whether more are due that it did not look at."""
    filled = store().fill(limits, order)
    notify_types(filled.ready)
    return filled.due == MOST_FILLED or len(filled.ready) == MOST_FILLED


# What the moves of tasks with keys say, each in the caller's write transaction, in which all of Django works.


def note(keys: Iterable[tuple[str, str]]) -> int:
    """Say that these keys are due, each once. Returns how many they are."""
    due = sorted(set(keys))
    if due:
        FillDue.objects.bulk_create(FillDue(task_type=name, limit_key=key) for name, key in due)
    return len(due)


def hold(ids: Collection[UUID]) -> int:
    """Those of these tasks that are ready or held wait for a fill, unless they have permits. Others are passed over.

    Returns how many keys are due.
    """
    rows = Task.objects.filter(pk__in=ids, status=Status.PENDING, limit_key__isnull=False)
    columns = ("pk", "task_type", "limit_key", "priority", "position", "due")
    permitted = set(Permit.objects.filter(task_id__in=ids, attempt=None).values_list("task_id", flat=True))
    waiting = [row for row in rows.only(*columns) if row.pk not in permitted and (row.due is None or row.held)]
    if not waiting:
        return 0
    if ready := [row.pk for row in waiting if row.due is None]:
        held.hold(ready)
        # A retry has its row already, with its first position.
        HeldTask.objects.filter(task_id__in=ready).update(waits=False)
    HeldTask.objects.bulk_create(
        [
            HeldTask(
                task_id=row.pk,
                task_type=row.task_type,
                limit_key=row.limit_key or "",
                priority=row.priority,
                position=row.position,
            )
            for row in waiting
        ],
        ignore_conflicts=True,
    )
    return note((row.task_type, row.limit_key or "") for row in waiting)


def end(ids: Collection[UUID]) -> int:
    """These tasks have ended, and nothing of them runs. Some may have no key. Returns how many keys are due."""
    HeldTask.objects.filter(task_id__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
    return _give_up(Permit.objects.filter(task_id__in=ids, attempt=None).values_list("pk", "task_type", "limit_key"))


def wait(ids: Collection[UUID]) -> int:
    """These tasks wait for their retries without permits, and keep their order. Returns how many keys are due."""
    permits = list(Permit.objects.filter(task_id__in=ids, attempt=None))
    priorities = dict(Task.objects.filter(pk__in=ids).values_list("pk", "priority"))
    HeldTask.objects.bulk_create(
        [
            HeldTask(
                task_id=permit.task_id,
                task_type=permit.task_type,
                limit_key=permit.limit_key,
                priority=priorities[permit.task_id],
                position=permit.position,
                waits=True,
            )
            for permit in permits
        ],
        ignore_conflicts=True,
    )
    return _give_up((permit.pk, permit.task_type, permit.limit_key) for permit in permits)


def leave(task: UUID, attempt: int, node: str) -> None:
    """A task has ended or is gone, and a container of this node may still run this attempt of it."""
    Permit.objects.filter(task_id=task, attempt=None).update(attempt=attempt, node=node, since=Now())


def end_left(attempts: Sequence[tuple[UUID, int]]) -> int:
    """The containers of these attempts, whose tasks were moved before, have ended. Returns how many keys are due."""
    numbers = set(attempts)
    rows = Permit.objects.filter(task_id__in=[task for task, _ in attempts], attempt__isnull=False)
    found = rows.values_list("pk", "task_type", "limit_key", "task_id", "attempt")
    return _give_up(row[:3] for row in found if row[3:] in numbers)


def _give_up(permits: Iterable[tuple[int, str, str]]) -> int:
    rows = list(permits)
    if not rows:
        return 0
    Permit.objects.filter(pk__in=[row[0] for row in rows])._raw_delete(DEFAULT_DB_ALIAS)
    return note(row[1:] for row in rows)


def prioritize(ids: Collection[UUID], priority: int) -> None:
    """These tasks have got another priority: those that are held are compared by it."""
    HeldTask.objects.filter(task_id__in=ids).update(priority=priority)
    note(HeldTask.objects.filter(task_id__in=ids, waits=False).values_list("task_type", "limit_key"))


def note_types(types: Collection[str]) -> int:
    """The limits of these types have changed: their keys with held tasks or permits are due. Returns how many."""
    if not types:
        return 0
    held_keys = HeldTask.objects.filter(task_type__in=types, waits=False).values_list("task_type", "limit_key")
    permits = Permit.objects.filter(task_type__in=types).values_list("task_type", "limit_key")
    return note({*held_keys.distinct(), *permits.distinct()})


# What a program that knows no keys has moved, such as a process of version 0.1.0.


class Looked(NamedTuple):
    """The last permit and the last held task at which `mend` has looked. It begins anew with the first ones."""

    permit: int = 0
    task: UUID = UUID(int=0)


def mend(after: Looked, most: int) -> tuple[Looked, list[UUID]]:
    """Look at so many permits and held tasks after these, and end those whose tasks are elsewhere.

    Returns where to go on, and the tasks. In a transaction of its own.
    """
    its = Task.objects.filter(pk=OuterRef("task_id"))
    permits = Permit.objects.filter(pk__gt=after.permit, attempt=None).order_by("pk")
    last = permits.values_list("pk", flat=True)[most - 1 : most].first()
    # In one statement: each move commits the task and its permit together.
    permits = permits.exclude(Exists(its.filter(Q(status=Status.PROCESSING) | Q(status=Status.PENDING, due=None))))
    wrong = permits if last is None else permits.filter(pk__lte=last)
    tasks = list(wrong.values_list("task_id", flat=True)[:most])
    held_tasks = HeldTask.objects.filter(pk__gt=after.task).order_by("pk")
    last_held = held_tasks.values_list("pk", flat=True)[most - 1 : most].first()
    held_tasks = held_tasks.exclude(Exists(its.filter(status=Status.PENDING, due__isnull=False)))
    not_held = held_tasks if last_held is None else held_tasks.filter(pk__lte=last_held)
    gone = list(not_held.values_list("task_id", flat=True)[:most])
    if tasks or gone:
        with writing():
            list(Task.objects.select_for_update().filter(pk__in=[*tasks, *gone]).order_by("pk").values_list("pk"))
            _give_up(wrong.filter(task_id__in=tasks).values_list("pk", "task_type", "limit_key"))
            note(not_held.filter(task_id__in=gone).values_list("task_type", "limit_key"))
            not_held.filter(task_id__in=gone).delete()
            hold(tasks)
    return Looked(last or 0, last_held or UUID(int=0)), tasks + gone
