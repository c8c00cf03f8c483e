"""The work of a node by the clock: due rows are promoted, late rows expire, old idempotency keys are forgotten.

`Store.due_work` says what there is to do; the verbs check again before they move a row. All work in batches, each with
a commit of its own. Turns keep two nodes from the same job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db import IntegrityError
from django.db.models import DateTimeField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from tasks_app.broker.notification import notify_types
from tasks_app.queue.attempt import MAX_RETRY_DELAY_SECONDS
from tasks_app.queue.current import require_all, store, writing
from tasks_app.queue.followed import READY, Moved, lock_followers, tell_followers
from tasks_app.queue.models import Attempt, FailureReason, IdempotencyKey, Status, Task, TaskQuerySet
from tasks_app.queue.node_models import Turn
from tasks_app.runner.endings import OutcomeKind

#: The heartbeat, which renews leases, waits for it: its beats stay short on a slow database.
MAX_SECONDS = 1.0
#: Rows that are promoted in one transaction.
TASKS_PER_TRANSACTION = 500
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

#: Times of one moment on two clocks may differ by less: such tasks become due together.
CLOCKS_APART_SECONDS = 0.1
#: Rows that one call puts in order.
ROWS_PER_CALL = 10_000
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class _Waits(NamedTuple):
    """The columns of a row that waits, read before its lock is taken."""

    pk: UUID
    due: float
    due_at: datetime
    position: int
    followed: bool | None


def promote(all_clocks: bool = True, set_back: bool = False) -> list[str]:
    """Make due rows ready, for about a second at most, in the order of `due_at`, and of their positions within it.

    Returns the types of these rows. A retry keeps its position. A task that was never started goes to the back of its
    queue: a claim may not see a row that becomes ready before the others, unless it has been started.

    Does nothing while another process promotes. Not `all_clocks`: nothing is due on the clock of an earlier boot alone.
    `set_back`: the clock was, and retries that would wait for longer than any backoff are due too, but for those whose
    handlers asked for that.
    """
    rows = _due(all_clocks, set_back)
    firsts = range(0, len(rows), TASKS_PER_TRANSACTION)
    batches = iter([rows[first : first + TASKS_PER_TRANSACTION] for first in firsts])
    ready: list[tuple[str, int]] = []
    run_batches(lambda: _promote_batch(next(batches, ()), ready), TASKS_PER_TRANSACTION, len(rows))
    notify_types(ready)
    return list(dict.fromkeys(name for name, _ in ready))


def _due(all_clocks: bool, set_back: bool) -> list[_Waits]:
    """The first rows that are due, in order, but for those that one which is almost due comes before."""
    # Numbers: the server's expression may differ from row to row, so the server would evaluate it for every row.
    now, wall = store().moment()
    waiting, ours = Task.objects.waiting(), store().clock_id()
    # By how many seconds each is late.
    late = [(now - row.due, row) for row in _first(waiting.filter(clock=ours, due__gte=store().first_times().due), now)]
    if all_clocks or any(seconds >= 0.0 for seconds, _ in late):
        # Times of an earlier boot's clock can only be compared by the wall clock. Each is a range of the index: one
        # condition for all would scan every waiting row.
        soon = wall + timedelta(seconds=CLOCKS_APART_SECONDS)
        held = store().held_clock()  # behind all others, or ours, where held rows are behind all times
        for earlier in (Q(clock__lt=ours), Q(clock__gt=ours, **({} if held == ours else {"clock__lt": held}))):
            old = _in_order(waiting.filter(earlier, due_at__lte=soon))
            late += [((wall - row.due_at).total_seconds(), row) for row in old]
    next_at = min((row.due_at for seconds, row in late if seconds < 0.0), default=None)
    due = [
        row
        for seconds, row in late
        if seconds >= CLOCKS_APART_SECONDS or (seconds >= 0.0 and (next_at is None or row.due_at < next_at))
    ]
    due += _stranded(waiting.filter(clock=ours), now) if set_back else []
    # Each part may go on after its last row that was read: no more are surely the first of all.
    return sorted(due, key=lambda row: (row.due_at, row.position))[:ROWS_PER_CALL]


def _first(rows: TaskQuerySet, now: float) -> list[_Waits]:
    """The first of these rows that are due, or almost. They are found along the index, as far as the moment reaches at
    which there are enough; of that one all are compared."""
    until = now + CLOCKS_APART_SECONDS
    enough = rows.filter(due__lte=until).order_by("due").values_list("due", flat=True)
    if (last := enough[ROWS_PER_CALL - 1 : ROWS_PER_CALL].first()) is not None:
        until = min(until, last + CLOCKS_APART_SECONDS)
    return _in_order(rows.filter(due__lte=until))


def _stranded(rows: TaskQuerySet, now: float) -> list[_Waits]:
    """Retries that wait for longer than any backoff, since the clock was set back."""
    # The settle has read the clock once for both times, so their distance is the pause.
    backoff = ExpressionWrapper(OuterRef("due_at") - timedelta(seconds=MAX_RETRY_DELAY_SECONDS), DateTimeField())
    asked = Exists(Attempt.objects.filter(
        task_id=OuterRef("pk"), number=OuterRef("attempts"), outcome=OutcomeKind.ERROR, ended_at__lt=backoff
    ))  # fmt: skip
    too_late = rows.filter(due__gt=now + MAX_RETRY_DELAY_SECONDS, attempts__gt=0).exclude(asked)
    return _in_order(too_late)


def _in_order(rows: TaskQuerySet) -> list[_Waits]:
    """The first ones by `due_at` and position. Another program may have written `due` alone."""
    found = rows.order_by("due_at", "position").values_list(*_Waits._fields)[:ROWS_PER_CALL]
    return [_Waits(pk, due, due_at or _NEVER, position, followed) for pk, due, due_at, position, followed in found]


def _promote_batch(batch: Sequence[_Waits], ready: list[tuple[str, int]]) -> int:
    """Promote these rows. Adds the type and the priority of each to `ready`; returns their number, 0 if another process
    promotes."""
    if not batch:  # takes no lock if there is nothing to do
        return 0
    with writing():
        if not store().may_promote():
            return 0
        rows = Task.objects.waiting_by_key().filter(pk__among=[row.pk for row in batch])
        lock_followers([row.pk for row in batch if row.followed])
        # SKIP LOCKED: what an operator changes at this moment is promoted later.
        columns = ("pk", "due", "task_type", "priority", "attempts", "followed")
        found = {row[0]: row for row in rows.select_for_update(skip_locked=True).values_list(*columns)}
        # In the order of the batch. One that has been promoted and run since waits for another time, and one that is
        # followed since waits for the next call.
        still = [
            found[row.pk]
            for row in batch
            if row.pk in found and (found[row.pk][1], found[row.pk][5]) == (row.due, row.followed)
        ]
        never_run = [row[0] for row in still if not row[4]]
        positions = dict(zip(never_run, store().next_positions(len(never_run)), strict=True)) if never_run else {}
        if still:
            store().promote([(row[0], positions.get(row[0])) for row in still])
        tell_followers(Moved(row[0], row[2], READY) for row in still if row[5])
    ready += [(row[2], row[3]) for row in still]
    return len(batch)


# expire: pending -> failed, when no handler has begun the task in time.


def expire() -> int:
    """Fail tasks that were not begun before their `expires_at`, for a second and 100,000 at most. Returns how many.

    Fewer than EXPIRED_PER_TRANSACTION: no more were left.
    """
    return run_batches(partial(_expire_batch, store().first_times().expiry), EXPIRED_PER_TRANSACTION, EXPIRES_PER_CALL)


def _expire_batch(first: datetime) -> int:
    late = Task.objects.expiring().filter(expires_at__gte=first, expires_at__lte=Now()).order_by("expires_at")
    if not late.any_by("expires_at"):  # a read: takes no lock if there is nothing to do
        return 0
    with writing():
        rows = list(_locked(late)[:EXPIRED_PER_TRANSACTION])
        _fail([row for row in rows if not row[2]])
    if followed := [row[0] for row in rows if row[2]]:
        # In a transaction of their own: followers lock before their rows are locked.
        with writing():
            lock_followers(followed)
            _fail(list(_locked(late.filter(pk__in=followed))))
    return len(rows)


def _locked(late: TaskQuerySet) -> QuerySet[Task, tuple[UUID, str, bool | None]]:
    # SKIP LOCKED avoids a deadlock between two nodes that expire tasks.
    return late.select_for_update(skip_locked=True).values_list("pk", "task_type", "followed")


def expire_at_once(tasks: Iterable[UUID | str]) -> None:
    """Of these tasks, which this transaction has stored or has released unbegun, fail those whose time has come.

    `expire` may not find them: what it reads begins after times at which no task was pending.
    """
    late = Task.objects.expiring().filter(pk__in=list(tasks), expires_at__lte=Now())
    rows = list(late.values_list("pk", "task_type", "followed"))
    lock_followers([row[0] for row in rows if row[2]])
    _fail(rows)


def _fail(rows: Sequence[tuple[UUID, str, bool | None]]) -> None:
    """Fail these tasks, which are locked. Needs a transaction."""
    if not rows:
        return
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
    store().add_counts(Counter(f"failed|{name}|{FailureReason.EXPIRED}" for _, name, _ in rows))
    tell_followers(Moved(identity, name, Status.FAILED) for identity, name, followed in rows if followed)


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
