"""expire: pending -> failed, when nobody started it in time."""

from __future__ import annotations

from tasks_app import clock
from tasks_app.metrics import counters
from tasks_app.models import FailureReason, Status, Task
from tasks_app.write_lock import writing

#: Rows ended in one transaction.
BATCH = 500


def expire() -> int:
    """Fail pending tasks whose `expires_at` has passed. Answers how many."""
    late = Task.objects.expiring().filter(expires_at__lte=clock.Now())
    if not late.exists():
        return 0
    ended = 0
    with writing():
        for task_id, name in late.values_list("pk", "task_type")[:BATCH]:
            moved = late.filter(pk=task_id).update(
                status=Status.FAILED,
                failure_reason=FailureReason.EXPIRED,
                last_error="not started before it expired",
                due=None,
                due_at=None,
                completed_at=clock.Now(),
            )
            if moved:
                ended += 1
                counters.add([(f"failed|{name}|{FailureReason.EXPIRED}", 1)])
    return ended
