"""What a node does by the clock: due rows are promoted, late ones expire, old idempotency keys are forgotten.

`Store.due_work` says what there is to do; the verbs check again before they move a row. All work in batches, each with
a commit of its own. Turns keep two nodes from the same job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db import IntegrityError
from django.db.models import DateTimeField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from tasks_app.broker.notification import notify_types
from tasks_app.queue.attempt import MAX_RETRY_DELAY_SECONDS
from tasks_app.queue.current import require_all, store, writing
from tasks_app.queue.models import Attempt, FailureReason, IdempotencyKey, Status, Task
from tasks_app.queue.node_models import Turn
from tasks_app.runner.endings import OutcomeKind

#: The heartbeat, which renews leases, waits for it: its beats stay short on a slow database.
MAX_SECONDS = 1.0
#: Rows that are promoted in one transaction, and transactions of one call.
TASKS_PER_TRANSACTION = 500
TRANSACTIONS_PER_CALL = 20
#: Few enough that no other writer waits long: 11 ms of SQLite's write lock. The time of a call ends before its number.
EXPIRED_PER_TRANSACTION = 1000
EXPIRES_PER_CALL = 100
#: Few enough that no other writer waits long.
FORGOTTEN_PER_TRANSACTION = 1000
#: Called once a second, this is faster than callers can send new keys.
FORGETS_PER_CALL = 10


def run_batches(batch: Callable[[], int], size: int, most: int) -> int:
    """Call `batch`, which returns how many rows it has done, until it does fewer than `size`.

    Calls it `most` times at most, and begins none after MAX_SECONDS. Returns the number of rows.
    """
    done = 0
    until = store().elapsed() + MAX_SECONDS
    for _ in range(most):
        count = batch()
        done += count
        if count < size or store().elapsed() >= until:
            break
    return done


def remove_first(rows: QuerySet, most: int) -> int:
    """Remove the first of these rows in their order, at most so many, in one transaction. Returns how many."""
    keys = list(rows.values_list("pk", flat=True)[:most])
    if not keys:  # a read, which takes no write lock
        return 0
    with writing():
        return int(rows.model._default_manager.filter(pk__in=keys).delete()[0])


# promote: a pending row that is due becomes ready.

#: The name of the turn whose row a promotion locks.
PROMOTION = "promotion"
#: Rows that become ready together may have times that are so far apart on the store's clock, although their callers
#: named one moment: a submit reads the store's clock and the time of day one after the other.
SAME_MOMENT_SECONDS = 0.1


class _Due(NamedTuple):
    """A row that waits, as far as its order needs it. `due`: seconds on `clock`."""

    id: UUID
    due: float | None
    due_at: datetime | None
    position: int


def promote(all_clocks: bool = True, set_back: bool = False) -> list[str]:
    """Make due rows ready, 10,000 at most, and for a second at most. Returns the types of these rows.

    A retry keeps its position. A task that was never started goes to the back of its queue: a claim may not see a row
    that becomes ready before the others, unless it has been started. Of such tasks the earlier `due_at` goes first, and
    of one `due_at` the task that was accepted first.

    Not `all_clocks`: no row is due whose time was measured on the clock of an earlier boot, unless another one is too.
    `set_back`: the clock was, and retries that would wait for longer than any backoff are due too, but for those whose
    handlers asked for that.
    """
    waiting = _due(all_clocks, set_back)
    if not waiting:
        return []
    if not Turn.objects.filter(name=PROMOTION).exists():
        with suppress(IntegrityError), writing():
            Turn.objects.create(name=PROMOTION, node="", until=0.0, clock="")
    ready: list[tuple[str, int]] = []
    batches = (waiting[at : at + TASKS_PER_TRANSACTION] for at in range(0, len(waiting), TASKS_PER_TRANSACTION))
    run_batches(lambda: _promote_batch(next(batches, ()), ready), TASKS_PER_TRANSACTION, TRANSACTIONS_PER_CALL)
    notify_types(ready)
    return list(dict.fromkeys(name for name, _ in ready))


def _due(all_clocks: bool, set_back: bool) -> list[_Due]:
    """The rows that are due, in the order in which they become ready. Takes no lock.

    Each condition is a range of the index: one for all of them would scan every waiting row.
    """
    ours = store().clock_id()
    # A number: the server's expression may differ from row to row, so the server would evaluate it for every row.
    now, wall = store().moment()
    late, wall_late = now + SAME_MOMENT_SECONDS, wall + timedelta(seconds=SAME_MOMENT_SECONDS)
    rows = _first_due(Q(clock=ours, due__gte=store().first_times().due, due__lte=late))
    moments = {row.due_at for row in rows if row.due is not None and row.due <= now}
    found = [row for row in rows if row.due_at in moments]
    if all_clocks or found:  # times of an earlier boot's clock can only be compared by the wall clock
        for earlier in (Q(clock__lt=ours), Q(clock__gt=ours)):
            rows = _first_due(earlier & Q(due_at__lte=wall_late))
            found += [row for row in rows if row.due_at in moments or (row.due_at is not None and row.due_at <= wall)]
    if set_back:
        # The settle has read the clock once for both times, so their distance is the pause.
        backoff = ExpressionWrapper(OuterRef("due_at") - timedelta(seconds=MAX_RETRY_DELAY_SECONDS), DateTimeField())
        asked = Exists(Attempt.objects.filter(
            task_id=OuterRef("pk"), number=OuterRef("attempts"), outcome=OutcomeKind.ERROR, ended_at__lt=backoff
        ))  # fmt: skip
        too_late = Q(clock=ours, due__gt=now + MAX_RETRY_DELAY_SECONDS, attempts__gt=0)
        found += _first_due(too_late & ~Q(asked))
    return sorted(found, key=lambda row: (row.due_at or wall, row.position))


def _first_due(due: Q) -> list[_Due]:
    """Of the rows with this condition those that become ready first, at most as many as one call promotes."""
    first = Task.objects.waiting().filter(due).order_by("due_at", "position")
    rows = first.values_list("pk", "due", "due_at", "position")
    return [_Due(*row) for row in rows[: TASKS_PER_TRANSACTION * TRANSACTIONS_PER_CALL]]


def _promote_batch(due: Sequence[_Due], ready: list[tuple[str, int]]) -> int:
    """Promote these rows, in their order. Adds the type and the priority of each row to `ready`.

    Returns the number of `due`, or 0 while another node promotes: two at a time would mix their positions.
    """
    if not due:
        return 0
    with writing():
        if not Turn.objects.select_for_update(skip_locked=True).filter(name=PROMOTION).values_list("pk").first():
            return 0
        # SKIP LOCKED avoids a deadlock with moves that lock rows in another order.
        locked = (
            Task.objects.waiting_by_key().filter(pk__among=[row.id for row in due]).select_for_update(skip_locked=True)
        )
        found = {row[0]: row for row in locked.values_list("pk", "due", "task_type", "priority", "attempts")}
        # A row that another node has promoted meanwhile may wait again, for another time.
        rows = [found[row.id] for row in due if row.id in found and found[row.id][1] == row.due]
        never_run = [row[0] for row in rows if not row[4]]
        positions = dict(zip(never_run, store().next_positions(len(never_run)), strict=True)) if never_run else {}
        store().promote([(row[0], positions.get(row[0])) for row in rows])
    ready += [(name, priority) for _, _, name, priority, _ in rows]
    return len(due)


# expire: pending -> failed, when no handler has begun the task in time.


def expire() -> int:
    """Fail tasks that were not begun before their `expires_at`, for a second and 100,000 at most. Returns how many.

    Fewer than EXPIRED_PER_TRANSACTION: no more were left.
    """
    return run_batches(
        partial(_expire_batch, store().first_times().expires_at), EXPIRED_PER_TRANSACTION, EXPIRES_PER_CALL
    )


def _expire_batch(first: datetime) -> int:
    late = Task.objects.expiring().filter(expires_at__gte=first, expires_at__lte=Now()).order_by("expires_at")
    if not late.any_by("expires_at"):  # a read: takes no lock if there is nothing to do
        return 0
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes that expire tasks.
        locked = late.select_for_update(skip_locked=True).values_list("pk", "task_type")
        rows = list(locked[:EXPIRED_PER_TRANSACTION])
        _fail(rows)
    return len(rows)


def expire_at_once(tasks: Iterable[UUID | str]) -> None:
    """Of these tasks, which this transaction has stored or has released unbegun, fail those whose time has come.

    `expire` may not find them: what it reads begins after times at which no task was pending.
    """
    late = Task.objects.expiring().filter(pk__in=list(tasks), expires_at__lte=Now())
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
            completed_at=Now(),
        )
    )
    require_all(moved, len(rows))
    store().add_counts(Counter(f"failed|{name}|{FailureReason.EXPIRED}" for _, name in rows))


# Idempotency keys whose time has passed.


def forget_idempotency_keys() -> int:
    """Remove keys whose time has passed, 10,000 at most and for a second at most. Returns how many."""
    return run_batches(_forget_batch, FORGOTTEN_PER_TRANSACTION, FORGETS_PER_CALL)


def _forget_batch() -> int:
    late = IdempotencyKey.objects.filter(expires_at__lte=Now()).order_by("expires_at")
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes, and with a request that replaces one of the keys.
        ids = list(late.select_for_update(skip_locked=True).values_list("pk", flat=True)[:FORGOTTEN_PER_TRANSACTION])
        return IdempotencyKey.objects.filter(pk__in=ids).delete()[0]


# Turns: leases for jobs that one node does at a time.


def take_turn(name: str, node: str, seconds: float) -> bool:
    """Take or keep the turn for so many seconds; False if another node has it.

    Nothing may depend on it: a node that was stopped meanwhile may believe that the turn is still its own.
    """
    now = store().now()
    # The last two: the clock has started anew, or was set back.
    over = Q(until__lt=now) | ~Q(clock=store().clock_id()) | Q(until__gt=now + 2 * seconds)
    free = Turn.objects.filter(Q(node=node) | over, name=name)
    until = {"until": now + seconds, "clock": store().clock_id()}
    if free.exists():  # a read, which takes no write lock
        with writing():
            return free.update(node=node, **until) == 1
    if Turn.objects.filter(name=name).exists():
        return False
    try:
        with writing():
            Turn.objects.create(name=name, node=node, **until)
    except IntegrityError:
        return False
    return True
