"""promote: a pending row that is due becomes ready."""

from __future__ import annotations

from functools import partial

from django.db.models import Q

from tasks_app.broker.notification import notify
from tasks_app.lifecycle.retry_decision import MAX_PAUSE_SECONDS
from tasks_app.models import Task
from tasks_app.store import clock
from tasks_app.store.batches import run_batches
from tasks_app.store.current import store
from tasks_app.store.transactions import writing

TASKS_PER_TRANSACTION = 500
TRANSACTIONS_PER_CONDITION = 20


def promote(all_clocks: bool = True, set_back: bool = False) -> list[str]:
    """Make due rows ready, 30,000 at most, and for three seconds at most. Returns the types of these rows.

    A retry keeps its position. A task that was never started goes to the back of its queue: a claim may not see a row
    that becomes ready before the others, unless it has been started.

    Not `all_clocks`: only rows whose time was measured on the present clock, not on that of an earlier boot.
    `set_back`: the clock was, and retries that would wait for longer than any pause are due too.
    """
    highest: dict[str, int] = {}
    for due, order in _due(all_clocks, set_back):
        batch = partial(_promote_batch, due, order, highest)
        run_batches(batch, TASKS_PER_TRANSACTION, TRANSACTIONS_PER_CONDITION)
    for name, priority in highest.items():
        notify(name, priority)
    return list(highest)


def _due(all_clocks: bool, set_back: bool) -> list[tuple[Q, str]]:
    """Conditions for due rows, each a range of the index, with the order of the index in it.

    One condition for all of them would scan every waiting row.
    """
    ours = clock.clock_id()
    # A number: the server's expression may differ from row to row, so the server would evaluate it for every row.
    now = clock.reading()
    found = [(Q(clock=ours, due__gte=store().first_times().due, due__lte=now), "due")]
    if all_clocks:  # times of an earlier boot's clock can only be compared by the wall clock
        found.append((Q(clock__lt=ours, due_at__lte=clock.Now()), "clock"))
        found.append((Q(clock__gt=ours, due_at__lte=clock.Now()), "clock"))
    if set_back:
        found.append((Q(clock=ours, due__gt=now + MAX_PAUSE_SECONDS, attempts__gt=0), "due"))
    return found


def _promote_batch(due: Q, order: str, highest: dict[str, int]) -> int:
    """Promote one batch. Adds to `highest` each type's highest priority; returns the number of rows."""
    late = Task.objects.waiting().filter(due).order_by(order)
    if not late.any_by(order):  # a read: takes no lock if there is nothing to do
        return 0
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes that promote.
        found = late.select_for_update(skip_locked=True).values_list("pk", "task_type", "priority", "attempts")
        rows = list(found[:TASKS_PER_TRANSACTION])
        never_run = [row[0] for row in rows if not row[3]]
        positions = dict(zip(never_run, store().next_positions(len(never_run)), strict=True)) if never_run else {}
        store().promote([(row[0], positions.get(row[0])) for row in rows])
    for _, name, priority, _ in rows:
        highest[name] = max(priority, highest.get(name, 0))
    return len(rows)
