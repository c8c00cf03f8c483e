"""fill: held -> ready, as far as the limits by key allow.

Every task with a key is stored held, and only a fill knows limits. A transaction that stores such a task, or that ends
one which had a permit, says so in a row of its own (`note`), which locks nothing. One fill at a time works over all
nodes: it waits for the lock, and reads the permits in statements that begin once it has it. So it sees the permits of
every fill before it. It counts a permit that is given up at the same time: the row that says so comes with that commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from django.db.models import Count
from django.db.models.functions import Now

from tasks_app.db.lookups import pairs_in
from tasks_app.queue import held
from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store, writing
from tasks_app.queue.permit_models import FillDue, HeldTask, Permit
from tasks_app.queue.rooms import Key, Room

#: How many rows one fill takes, and how many tasks it makes ready.
MAX_DUE, MAX_TASKS = 1000, 1000


#: How many tasks of each key of a type may have a permit; None: any number.
Limits = Mapping[str, int | None]


def note(keys: Iterable[Key]) -> None:
    """Say that these keys are to be filled, in the caller's write transaction."""
    FillDue.objects.bulk_create(FillDue(task_type=key.task_type, limit_key=key.limit_key) for key in keys)


def give_up(tasks: Sequence[UUID]) -> None:
    """These tasks have no permit any more, in the caller's write transaction. Those that had none are left out."""
    permits = Permit.objects.filter(task_id__in=tasks)
    keys = {Key(*row) for row in permits.values_list("task_type", "limit_key")}
    if keys:
        permits.delete()
        note(sorted(keys))


def fill(limits: Callable[[], Limits], order: Selection) -> int:
    """Take what is due, and make the best held tasks of its keys ready. Returns how many rows were due.

    `limits` is asked once the fill has the lock. If it returns MAX_DUE, or has made MAX_TASKS ready, more may be due.
    """
    if not FillDue.objects.exists():
        return 0
    with writing():
        store().alone_filling()
        due = list(FillDue.objects.order_by("pk")[:MAX_DUE])
        keys = sorted({Key(row.task_type, row.limit_key) for row in due})
        _fill(keys, limits(), order)
        FillDue.objects.filter(pk__in=[row.pk for row in due]).delete()
    return len(due)


def _fill(keys: Sequence[Key], limits: Limits, order: Selection) -> None:
    rooms = _rooms(keys, limits)
    best = store().best_held(rooms, order, MAX_TASKS + 1)
    taken, left = best[:MAX_TASKS], best[MAX_TASKS:]
    ids = [row.task_id for row in taken]
    held.let_go(ids)
    HeldTask.objects.filter(pk__in=ids).delete()
    Permit.objects.bulk_create(
        Permit(task_id=row.task_id, task_type=row.task_type, limit_key=row.limit_key, since=Now()) for row in taken
    )
    if left:
        done = Counter(Key(row.task_type, row.limit_key) for row in taken)
        note(Key(room.task_type, room.limit_key) for room in rooms if done[Key(*room[:2])] < room.tasks)


def _rooms(keys: Sequence[Key], limits: Limits) -> list[Room]:
    """The keys that have room, each with how many tasks."""
    limited = [key for key in keys if limits.get(key.task_type) is not None]
    used: dict[Key, int] = {}
    if limited:
        permits = Permit.objects.filter(pairs_in("task_type", "limit_key", limited))
        counted = permits.values_list("task_type", "limit_key").annotate(number=Count("pk"))
        used = {Key(name, key): number for name, key, number in counted}
    rooms = []
    for key in keys:
        most = limits.get(key.task_type)
        tasks = MAX_TASKS + 1 if most is None else most - used.get(key, 0)
        if tasks > 0:
            rooms.append(Room(*key, tasks))
    return rooms
