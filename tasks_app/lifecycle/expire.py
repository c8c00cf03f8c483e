"""expire: pending -> failed, when nobody started it in time."""

from __future__ import annotations

from collections import Counter as Tally

from tasks_app import clock
from tasks_app.metrics import counters
from tasks_app.models import FailureReason, Status, Task
from tasks_app.write_lock import writing

#: Rows ended in one transaction, and transactions in one call.
BATCH = 500
BATCHES = 20


def expire() -> int:
    """Fail pending tasks whose `expires_at` has passed, 10,000 at most. Answers how many."""
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
    ended: Tally[str] = Tally()
    with writing():
        # Skipped, what another one holds: two that waited for each other's rows could do so in a circle.
        for task_id, name in late.select_for_update(skip_locked=True).values_list("pk", "task_type")[:BATCH]:
            moved = late.filter(pk=task_id).update(
                status=Status.FAILED,
                failure_reason=FailureReason.EXPIRED,
                last_error="not started before it expired",
                due=None,
                due_at=None,
                completed_at=clock.Now(),
            )
            if moved:
                ended[name] += 1
        counters.add((f"failed|{name}|{FailureReason.EXPIRED}", count) for name, count in ended.items())
    return ended.total()
