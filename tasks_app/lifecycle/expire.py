"""expire: pending -> failed, when nobody started it in time."""

from __future__ import annotations

from collections import Counter as Tally

from django.db import DatabaseError

from tasks_app import clock
from tasks_app.metrics import counters
from tasks_app.models import FailureReason, Status, Task
from tasks_app.write_lock import writing

#: Rows ended in one transaction, and transactions in one call.
BATCH = 500
BATCHES = 4


def expire() -> int:
    """Fail pending tasks whose `expires_at` has passed, 2,000 at most. Answers how many."""
    ended = 0
    for _ in range(BATCHES):
        batch = _expire_batch()
        ended += batch
        if batch < BATCH:
            break
    return ended


def _expire_batch() -> int:
    late = Task.objects.expiring().filter(expires_at__lte=clock.Now()).order_by("expires_at")
    if not late.any_by("expires_at"):  # a read: no lock where there is nothing to do
        return 0
    with writing():
        # Skipped, what another one holds: two that waited for each other's rows could do so in a circle.
        rows = list(late.select_for_update(skip_locked=True).values_list("pk", "task_type")[:BATCH])
        moved = (
            Task.objects.expiring()
            .filter(pk__in=[row[0] for row in rows])
            .update(
                status=Status.FAILED,
                failure_reason=FailureReason.EXPIRED,
                last_error="not started before it expired",
                due=None,
                due_at=None,
                completed_at=clock.Now(),
            )
        )
        if moved != len(rows):
            raise DatabaseError("a task moved while it was locked: is something else writing?")
        ended = Tally(row[1] for row in rows)
        counters.add((f"failed|{name}|{FailureReason.EXPIRED}", count) for name, count in ended.items())
    return len(rows)
