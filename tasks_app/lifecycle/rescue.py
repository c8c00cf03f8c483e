"""rescue: processing -> pending or failed, when the node that had it is dead or has lost its lease."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import F, Q

from tasks_app import clock
from tasks_app.broker.bell import ring
from tasks_app.lifecycle.claimed import Policy, retry_on_of
from tasks_app.lifecycle.verdict import verdict
from tasks_app.metrics import counters
from tasks_app.models import Attempt, OutcomeKind, Status, Task
from tasks_app.write_lock import writing

#: Rows taken over in one transaction.
BATCH = 100


def rescue(dead: Collection[str] = (), leases: bool = True) -> int:
    """Take running tasks from nodes that are dead: those in `dead`, and, with `leases`, whoever let one run out.

    The attempt is over and says `worker_lost`; another follows at once while the budget lasts. Answers how many were
    taken over; of two rescuers one wins each row.
    """
    over = Q(node__in=list(dead))
    if leases:
        over |= Q(lease__lt=clock.now()) | ~Q(clock=clock.clock_id())
    lost = Task.objects.running().filter(over)
    if not lost.exists():  # a read: no lock where there is nothing to do
        return 0
    taken = 0
    woken: dict[str, int] = {}
    with writing():
        for task in lost.order_by("pk")[:BATCH]:
            if _take(task, over):
                taken += 1
                woken[task.task_type] = max(task.priority, woken.get(task.task_type, 0))
    for name, priority in woken.items():
        ring(name, priority)
    return taken


def _take(task: Task, over: Q) -> bool:
    policy = Policy(
        timeout=task.timeout or 0.0,
        max_retries=task.max_retries or 0,
        retry_backoff=task.retry_backoff or 0.0,
        retry_on=retry_on_of(task.retry_on),
    )
    decided = verdict(OutcomeKind.WORKER_LOST, task.retries, policy)
    final = decided.status == Status.FAILED
    error = f"the node {task.node} was lost while it ran attempt {task.attempts}"
    moved = Task.objects.filter(over, pk=task.pk, status=Status.PROCESSING, attempts=task.attempts).update(
        status=decided.status,
        failure_reason=decided.reason,
        retries=F("retries") + decided.spent,
        last_error=error,
        node=None,
        lease=None,
        ready_at=F("ready_at") if final else clock.Now(),
        completed_at=clock.Now() if final else None,
    )
    if not moved:
        return False
    Attempt.objects.create(
        task_id=task.pk,
        number=task.attempts,
        node=task.node or "",
        started_at=task.started_at,
        ended_at=clock.Now(),
        outcome=OutcomeKind.WORKER_LOST,
        error=error,
    )
    counters.add(
        [
            (f"attempts|{task.task_type}|{OutcomeKind.WORKER_LOST}", 1),
            ("leases_lost", 1),
            (f"failed|{task.task_type}|{decided.reason}" if final else f"retried|{task.task_type}", 1),
        ]
    )
    return True
