"""expire: pending -> failed, when no handler has begun the task in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import DatabaseError

from tasks_app.metrics import counters
from tasks_app.models import FailureReason, Status, Task
from tasks_app.store import clock
from tasks_app.store.batches import run_batches
from tasks_app.store.current import store
from tasks_app.store.transactions import writing

TASKS_PER_TRANSACTION = 500
TRANSACTIONS_PER_CALL = 20


def expire() -> int:
    """Fail tasks that were not begun before their `expires_at`, for a second and 10,000 at most. Returns how many."""
    return run_batches(
        partial(_expire_batch, store().first_times().expires_at), TASKS_PER_TRANSACTION, TRANSACTIONS_PER_CALL
    )


def _expire_batch(first: datetime) -> int:
    late = Task.objects.expiring().filter(expires_at__gte=first, expires_at__lte=clock.Now()).order_by("expires_at")
    if not late.any_by("expires_at"):  # a read: takes no lock if there is nothing to do
        return 0
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes that expire tasks.
        found = late.select_for_update(skip_locked=True).values_list("pk", "task_type")
        rows = list(found[:TASKS_PER_TRANSACTION])
        _fail(rows)
    return len(rows)


def expire_at_once(tasks: Iterable[UUID | str]) -> None:
    """Of these tasks, which this transaction has stored or has released unbegun, fail those whose time has come.

    `expire` may not find them: what it reads begins after times at which no task was pending.
    """
    late = Task.objects.expiring().filter(pk__in=list(tasks), expires_at__lte=clock.Now())
    if rows := list(late.values_list("pk", "task_type")):
        _fail(rows)


def _fail(rows: Sequence[tuple[UUID, str]]) -> None:
    """Fail these tasks, which are locked. Needs a transaction."""
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
        raise DatabaseError("a locked task changed: does another program write to this table?")
    types = Counter(row[1] for row in rows)
    counters.add((f"failed|{name}|{FailureReason.EXPIRED}", count) for name, count in types.items())
