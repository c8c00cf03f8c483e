"""fill: held -> ready, as far as the limits by key allow.

Every task with a key is stored held, and only a fill knows limits. A transaction that stores such a task, or that ends
one which had a permit, says in a row of its own that the key is due, which locks nothing. One fill at a time works over
all nodes: it waits for the lock, and reads permits in a statement that begins once it has it. So it sees the permits of
every fill before it. It counts a permit that is given up at the same time: the row that says so comes with that commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from tasks_app.broker.notification import notify_types
from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store
from tasks_app.queue.permit_models import FillDue
from tasks_app.queue.sql import MOST_FILLED

#: How many tasks of each key of a type may have a permit. A type that is not in it has no limit.
Limits = Mapping[str, int]


class Key(NamedTuple):
    """A type, and a `limit_key` of its tasks."""

    task_type: str
    limit_key: str


def note(keys: Iterable[Key]) -> None:
    """Say that these keys are due, in the caller's write transaction."""
    FillDue.objects.bulk_create(FillDue(task_type=key.task_type, limit_key=key.limit_key) for key in keys)


def give_up(tasks: Sequence[UUID]) -> None:
    """These tasks have no permit any more, in the caller's write transaction; some may have had none."""
    store().give_up(tasks)


def fill(limits: Callable[[], Limits], order: Selection) -> bool:
    """Make the best held tasks of keys that are due ready. Returns whether more may be due."""
    if not FillDue.objects.exists():
        return False
    filled = store().fill(limits(), order)
    notify_types(filled.ready)
    return filled.due == MOST_FILLED or len(filled.ready) == MOST_FILLED
