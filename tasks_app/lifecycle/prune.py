"""prune: completed or failed -> gone, for tasks that ended long ago; one commit a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS

from tasks_app.db.first_id import first_id
from tasks_app.metrics import counters
from tasks_app.models import Attempt, Status, Task, TaskQuerySet
from tasks_app.store.transactions import writing

#: Few enough that no other writer waits long.
TASKS_PER_TRANSACTION = 500


def prune(status: str, before: datetime) -> Iterator[int]:
    """Remove the tasks that ended with `status` (completed or failed) before a moment, and their attempts.

    Yields after each commit how many it removed, and works only while it is iterated. Leaves rows that another
    transaction has locked. Raises ValueError for another status.
    """
    if status not in (Status.COMPLETED, Status.FAILED):
        raise ValueError(f"{status}: only finished tasks are pruned: completed or failed")
    ended = Task.objects.failed() if status == Status.FAILED else Task.objects.filter(status=status)
    # An id begins with its task's time of creation: a scan along the key from the oldest on ends at the first id that
    # is too young.
    old = ended.filter(completed_at__lt=before, id__lt=first_id(before)).order_by("id")
    last = UUID(int=0)
    while True:
        found, last = _prune_batch(old.filter(id__gt=last), status, last)
        if found:
            yield found
        if found < TASKS_PER_TRANSACTION:
            return


def _prune_batch(old: TaskQuerySet, status: str, last: UUID) -> tuple[int, UUID]:
    if not old.values_list("pk")[:1]:  # a read: takes no lock if there is nothing to do
        return 0, last
    with writing():
        # Locked: no redrive may come between the read and the delete.
        rows = list(old.select_for_update(skip_locked=True).values_list("pk", "task_type")[:TASKS_PER_TRANSACTION])
        ids = [row[0] for row in rows]
        Attempt.objects.filter(task_id__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
        Task.objects.filter(pk__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
        types = Counter(row[1] for row in rows)
        counters.add((f"deleted|{name}|{status}", count) for name, count in sorted(types.items()))
    return len(ids), ids[-1] if ids else last
