"""prune: completed or failed -> gone, for tasks that ended long ago. Many at once: a commit a batch."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS

from tasks_app.metrics import counters
from tasks_app.models import Attempt, Status, Task, TaskQuerySet
from tasks_app.write_lock import writing

#: Rows in one transaction: short enough that nobody waits for it.
BATCH = 500


def prune(status: str, before: datetime) -> Iterator[int]:
    """Remove the tasks that ended with `status` (completed or failed) before a moment, and their attempts.

    Works while it is asked for more; yields after each commit how many went. One that somebody holds is left.
    """
    if status not in (Status.COMPLETED, Status.FAILED):
        raise ValueError(f"{status}: only what has ended is pruned, so completed or failed")
    ended = Task.objects.failed() if status == Status.FAILED else Task.objects.filter(status=status)
    # An id begins with its moment: a walk along the key from the oldest on ends where no row can be old enough.
    old = ended.filter(completed_at__lt=before, id__lt=_first_id_of(before)).order_by("id")
    last = UUID(int=0)
    while True:
        found, last = _batch(old.filter(id__gt=last), status, last)
        if found:
            yield found
        if found < BATCH:
            return


def _batch(old: TaskQuerySet, status: str, last: UUID) -> tuple[int, UUID]:
    if not old.values_list("pk")[:1]:  # a read: no lock where there is nothing to do
        return 0, last
    with writing():
        # Locked: between the look and the delete nobody may redrive it.
        rows = list(old.select_for_update(skip_locked=True).values_list("pk", "task_type")[:BATCH])
        ids = [row[0] for row in rows]
        Attempt.objects.filter(task_id__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
        Task.objects.filter(pk__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
        types = Tally(row[1] for row in rows)
        counters.add((f"deleted|{name}|{status}", count) for name, count in sorted(types.items()))
    return len(ids), ids[-1] if ids else last


def _first_id_of(moment: datetime) -> UUID:
    return UUID(int=int(moment.timestamp() * 1000) << 80)
