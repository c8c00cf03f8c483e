"""Write down what the toy is told, and what it sees at that moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from django.db import connection

from tasks_app.queue.followed import Follower, Leaves, Moved
from tasks_app.queue.models import Task

#: What a test does in a hook: it gets the hook's name, and the tasks.
further: list[Callable[[str, list[UUID]], None]] = []
#: In the order of the calls: the hook's name, a task and its status at that moment; None: it is not stored.
calls: list[tuple[str, UUID, str | None]] = []


def lock(ids: Sequence[UUID]) -> None:
    """For the follower."""
    _note("lock", list(ids))


def moved(rows: Sequence[Moved]) -> None:
    """For the follower."""
    _write((row.id, row.state) for row in rows)
    _note("moved", [row.id for row in rows])


def tell(ids: Sequence[UUID]) -> None:
    """For what leaves its end."""
    _write((identity, "left") for identity in ids)
    _note("leaves", list(ids))


def _write(rows: Iterable[tuple[UUID, str]]) -> None:
    with connection.cursor() as cursor:
        values = [(str(task), told, time.monotonic_ns()) for task, told in rows]
        cursor.executemany("INSERT INTO toy_follow VALUES (%s, %s, %s)", values)


def _note(hook: str, ids: list[UUID]) -> None:
    statuses = dict(Task.objects.filter(pk__in=ids).values_list("pk", "status"))
    calls.extend((hook, task, statuses.get(task)) for task in ids)
    for do in further:
        do(hook, ids)


def told(task: UUID | str) -> list[str]:
    """What the toy was told of a task, by transactions that were committed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT told FROM toy_follow WHERE task = %s ORDER BY at", [str(task)])
        return [row[0] for row in cursor.fetchall()]


follower = Follower(moved, lock)
leaves = Leaves(tell)
