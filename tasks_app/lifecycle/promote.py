"""promote: a pending row whose time has come becomes ready."""

from __future__ import annotations

from django.db.models import Q

from tasks_app import clock
from tasks_app.broker.bell import ring
from tasks_app.models import Task
from tasks_app.write_lock import writing

#: Rows made ready in one transaction, and transactions in one call.
BATCH = 500
BATCHES = 20


def promote(all_clocks: bool = True) -> list[str]:
    """Make due rows ready, 10,000 at most; they keep their place. Answers the types that have new ready rows.

    Those that were measured on the clock of an earlier boot may be left for another time.
    """
    woken: dict[str, int] = {}
    for due, order in _due()[: None if all_clocks else 1]:
        for _ in range(BATCHES):
            if _ready(due, order, woken) < BATCH:
                break
    for name, priority in woken.items():
        ring(name, priority)
    return list(woken)


def _due() -> list[tuple[Q, str]]:
    """Whose time has come, in parts that each are a range of the index, and the order in which that has them.

    All in one condition they would be a scan of every waiting row.
    """
    ours = clock.clock_id()
    # A number, and not the server's expression: that may change from row to row, so every row would be read for it.
    now = clock.reading()
    # Measured on the clock of an earlier boot: the wall clock is the only one that both know.
    return [
        (Q(clock=ours, due__lte=now), "due"),
        (Q(clock__lt=ours, due_at__lte=clock.Now()), "clock"),
        (Q(clock__gt=ours, due_at__lte=clock.Now()), "clock"),
    ]


def _ready(due: Q, order: str, woken: dict[str, int]) -> int:
    late = Task.objects.waiting().filter(due).order_by(order)
    if not late.any_by(order):  # a read: no lock where there is nothing to do
        return 0
    with writing():
        # Skipped, what another one holds: two that waited for each other's rows could do so in a circle.
        found = late.select_for_update(skip_locked=True).values_list("pk", "task_type", "priority")[:BATCH]
        rows = list(found)
        Task.objects.waiting().filter(pk__in=[row[0] for row in rows]).update(
            due=None, due_at=None, ready_at=clock.Now()
        )
    for _, name, priority in rows:
        woken[name] = max(priority, woken.get(name, 0))
    return len(rows)
