"""One batch of an operation, with its row in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import accumulate
from typing import Any
from uuid import UUID

from django.db import DatabaseError, DataError, IntegrityError, OperationalError

from tasks_app.features.operations.acts import CHANGED, GONE, LIVING_TWIN, completed, stopped
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import CANARY_SECONDS, FITS, Plan, next_ids, plan_of
from tasks_app.handlers.words import plural
from tasks_app.process.fail_points import fail_point
from tasks_app.queue import clock
from tasks_app.queue.cancel import cancel_many, delete_many
from tasks_app.queue.current import BatchSize, store, writing
from tasks_app.queue.models import FailureReason, Status, Task, TaskQuerySet
from tasks_app.queue.redrive import prioritize_many, redrive_many
from tasks_app.queue.store import Refusal
from tasks_app.queue.task_filter import TaskFilter

# Moves the tasks of one batch, in the caller's write transaction.

#: Bytes of data and results in a batch, unless a single task has more. PostgreSQL deletes them in parts of 2 kB, and
#: SQLite writes a changed row anew: even a slow disk takes less than a second for so many.
MAX_BYTES = 8 * 1024 * 1024
#: What the verbs do not need.
_LARGE = ("task_data", "result", "metadata", "tags", "last_error")


@dataclass
class Batch:
    """What came of a batch. `moved`: ids. `passed`: how far the operation has come; None: it has passed all tasks.

    `busy`: another transaction has locked the first task, so that nothing was done.
    """

    moved: list[UUID] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    passed: UUID | None = None
    busy: bool = False


def move(operation: Operation, size: int, give_up: bool = False) -> Batch:
    """Move the next tasks of an operation, at most `size`.

    `give_up`: the database refuses this batch of one task; it is counted as failed. Raises DatabaseError.
    """
    plan = plan_of(operation)
    scope = _frozen(plan, operation)
    ids, cursor = next_ids(scope, operation.passed, size)
    if len(few := _within_bytes(ids)) < len(ids):
        ids, cursor = few, few[-1]
    batch = Batch(passed=cursor)
    fitting = _fitting(scope, plan, operation)
    rows = list(_lock(fitting, ids))
    if missing := set(ids) - {row.pk for row in rows}:
        matching = fitting.matching(Task.objects.filter(pk__in=missing))
        if busy := set(matching.values_list("pk", flat=True)):
            # Locked by another transaction, whose rows this one must not wait for while it holds others.
            first = min(busy)
            ids = [each for each in ids if each < first]
            if not ids:
                return Batch(passed=operation.passed, busy=True)
            rows = [row for row in rows if row.pk < first]
            missing = {each for each in missing if each < first}
            batch.passed = ids[-1]
        batch.skipped = _reasons(missing, FITS[plan.verb])
    if rows and give_up:
        batch.failed = len(rows)
    elif rows:
        _act(plan, operation, rows, batch)
    return batch


def _within_bytes(ids: list[UUID]) -> list[UUID]:
    """The first of the tasks that have MAX_BYTES together, at least one."""
    sizes = dict(Task.objects.filter(pk__in=ids).values_list("pk", store().task_bytes()))
    sums = accumulate(sizes.get(each, 0) for each in ids)
    return [each for each, so_far in zip(ids, sums, strict=True) if so_far <= MAX_BYTES] or ids[:1]


def _frozen(plan: Plan, operation: Operation) -> TaskFilter:
    """The tasks to walk: those that were stored at the start, and for a redrive had failed by then."""
    scope, started = plan.scope, operation.created_at
    before = started + timedelta(microseconds=1)
    scope = replace(
        scope,
        last_id=operation.last_id if scope.last_id is None else min(operation.last_id, scope.last_id),
        created_before=before if scope.created_before is None else min(before, scope.created_before),
    )
    return scope if scope.ids is not None or plan.verb != Verb.REDRIVE else replace(scope, ended_before=started)


def _fitting(scope: TaskFilter, plan: Plan, operation: Operation) -> TaskFilter:
    """Those of them that the verb moves."""
    statuses = FITS[plan.verb] if scope.statuses is None else FITS[plan.verb] & scope.statuses
    ended_before = operation.created_at if plan.verb == Verb.REDRIVE else None
    return replace(scope, ids=None, statuses=statuses, ended_before=ended_before)


def _lock(fitting: TaskFilter, ids: list[UUID]) -> TaskQuerySet:
    # SKIP LOCKED avoids a deadlock with a settle or another batch. The conditions are checked again on what is locked.
    rows = fitting.matching(Task.objects.filter(pk__in=ids)).select_for_update(skip_locked=True)
    return rows.order_by("pk").defer(*_LARGE)


def _reasons(ids: set[UUID], fits: frozenset[str]) -> Counter[str]:
    """Why tasks that an operation was to move do not match any more."""
    if not ids:
        return Counter()
    statuses = dict(Task.objects.filter(pk__in=ids).values_list("pk", "status"))
    return Counter(
        GONE if each not in statuses else CHANGED if statuses[each] in fits else str(Status(statuses[each]))
        for each in ids
    )


def _act(plan: Plan, operation: Operation, rows: Sequence[Task], batch: Batch) -> None:
    moved = [row.pk for row in rows]
    match plan.verb:
        case Verb.REDRIVE:
            moved, twins = redrive_many(rows)
            if twins:
                batch.skipped[LIVING_TWIN] += len(twins)
        case Verb.CANCEL:
            cancel_many(rows, f"cancelled by {operation.created_by}")
        case Verb.DELETE:
            delete_many(rows)
        case Verb.PRIORITY:
            prioritize_many(rows, plan.priority or 0)
    batch.moved = moved


# Watches what becomes of redriven tasks: of the canary, and whether too many fail again.

#: Tasks of an operation that are watched at a time; when some have ended, later ones take their places.
MAX_WATCHED = 200
#: So many must have ended before their share of failures says anything.
MIN_ENDED = 20


def waits_for_canary(operation: Operation) -> bool:
    """Whether the canary is out, and nothing else may go before its end."""
    return operation.canary is not None and not operation.canary_passed and operation.done >= operation.canary


def observe(operation: Operation, now: float) -> str | None:
    """Update the operation, which the caller saves, by the ends of its watched tasks.

    Returns why it has to stop, in a sentence without its full stop; None: it goes on.
    """
    ends = {str(key): (status, reason) for key, status, reason in _rows(operation)}
    lost = failed = succeeded = 0
    still = []
    for key in operation.watched:
        status, reason = ends.get(key, (None, None))
        if status is None or reason == FailureReason.CANCELLED:
            lost += 1
        elif status == Status.COMPLETED:
            succeeded += 1
        elif status == Status.FAILED:
            failed += 1
        else:
            still.append(key)
    operation.watched = still
    operation.watched_ended += succeeded + failed
    operation.watched_failed += failed
    if waits_for_canary(operation):
        return _canary(operation, failed, lost, now)
    share = operation.stop_share
    ended, again = operation.watched_ended, operation.watched_failed
    if share is not None and ended >= MIN_ENDED and again > share * ended:
        return f"of {ended:,} redriven tasks that have ended, {again:,} failed again, more than {share:.0%}"
    return None


def _rows(operation: Operation) -> list[tuple[object, str, str | None]]:
    if not operation.watched:
        return []
    return list(Task.objects.filter(pk__in=operation.watched).values_list("pk", "status", "failure_reason"))


def _canary(operation: Operation, failed: int, lost: int, now: float) -> str | None:
    size = f"{operation.canary} {plural(operation.canary or 0, 'canary task')}"
    if failed:
        return f"{failed} of the {size} failed again"
    if lost:
        return f"{lost} of the {size} {plural(lost, 'was', 'were')} cancelled or deleted before the end"
    if not operation.watched:
        operation.canary_passed = True
        return None
    seconds = operation.canary_seconds or CANARY_SECONDS
    if operation.canary_at is not None and now - operation.canary_at > seconds:
        return f"{len(operation.watched)} of the {size} had not ended after {seconds:g} s"
    return None


#: For how long an operation is its node's after a batch. Another node then goes on.
LEASE_SECONDS = 5.0
#: Between two checks of the canary.
CANARY_CHECK_SECONDS = 0.5
#: After a batch whose first task is locked by another transaction.
BUSY_SECONDS = 0.05
#: With a rate, a batch is due at least this often, and what was missed is made up for so many seconds at most.
RATE_TICK_SECONDS, MAX_LATE_SECONDS = 0.25, 1.0

#: How many tasks the database takes in a batch of each operation that this process works on.
_sizes: dict[UUID, BatchSize] = {}


def step(identity: UUID, node: str) -> float | None:
    """Do the next batch of a running operation. Returns the seconds until its next one is due.

    None: it is over, or another node has it. Raises DatabaseError.
    """
    size = _sizes.setdefault(identity, BatchSize(store().tasks_per_batch))
    try:
        pause = _step(identity, node, size.rows)
    except OperationalError as error:
        if store().refusal(error) is not Refusal.COST or size.rows == 1:
            raise
        size.refused(size.rows)
        return BUSY_SECONDS
    except (IntegrityError, DataError):
        # The database refuses one of the tasks, or more: one at a time, those before it go.
        try:
            return _step(identity, node, size=1)
        except (IntegrityError, DataError):
            return _step(identity, node, size=1, give_up=True)
    size.taken(size.rows)
    if pause is None:
        _sizes.pop(identity, None)
    return pause


def _step(identity: UUID, node: str, size: int, give_up: bool = False) -> float | None:
    with writing():
        rows = Operation.objects.select_for_update(skip_locked=True)
        operation = rows.filter(pk=identity, state=OperationState.RUNNING).first()
        if operation is None:
            return None
        before, now = operation.passed, clock.reading()
        ours = operation.clock == clock.clock_id()
        if ours and operation.node not in (None, node) and (operation.lease or 0.0) > now:
            return None
        if not ours:
            # Times of another boot mean nothing now: the canary's time begins anew.
            operation.due, operation.canary_at = None, now if operation.canary_at is not None else None
        if operation.due is not None and operation.due > now:
            return operation.due - now
        operation.node, operation.lease, operation.clock = node, now + LEASE_SECONDS, clock.clock_id()
        pause = _advance(operation, now, size, give_up)
        guarded = Operation.objects.filter(pk=identity, state=OperationState.RUNNING, passed=before)
        if not guarded.update(**_changed(operation)):
            raise DatabaseError("a locked operation changed: does another program write to this table?")
        fail_point("before_batch_commit")
    fail_point("after_batch_commit")
    return pause


def _advance(operation: Operation, now: float, size: int, give_up: bool) -> float | None:
    """Look at the watched tasks, then do a batch. Changes the operation; returns as `step`."""
    waited = waits_for_canary(operation)
    if (why := observe(operation, now)) is not None:
        _end(operation, OperationState.STOPPED, stopped(operation, why))
        return None
    if waits_for_canary(operation):
        operation.due = now + CANARY_CHECK_SECONDS
        return CANARY_CHECK_SECONDS
    if waited:
        operation.due = None
    room = _room(operation)
    if room == 0:
        _end(operation, OperationState.COMPLETED, completed(operation))
        return None
    batch = move(operation, min(size, _size(operation), room), give_up)
    if batch.busy:
        return BUSY_SECONDS
    _add(operation, batch)
    if batch.passed is None:
        _account(operation)
        _end(operation, OperationState.COMPLETED, completed(operation))
        return None
    operation.passed = batch.passed
    if waits_for_canary(operation):
        operation.canary_at = now
        operation.due = now + CANARY_CHECK_SECONDS
        return CANARY_CHECK_SECONDS
    if operation.rate is None:
        operation.due = None
        return 0.0
    operation.due = max(operation.due or now, now - MAX_LATE_SECONDS) + len(batch.moved) / operation.rate
    return max(operation.due - now, 0.0)


def _size(operation: Operation) -> int:
    """Tasks of a batch without other limits: short, so that claims and submits do not wait long."""
    most = store().tasks_per_batch
    return most if operation.rate is None else max(1, min(most, int(operation.rate * RATE_TICK_SECONDS)))


def _room(operation: Operation) -> int:
    """How many tasks may go now."""
    room = store().tasks_per_batch
    if operation.limit is not None:
        room = min(room, operation.limit - operation.done)
    if operation.canary is not None and not operation.canary_passed:
        room = min(room, operation.canary - operation.done)
    return max(room, 0)


def _add(operation: Operation, batch: Batch) -> None:
    operation.done += len(batch.moved)
    operation.failed += batch.failed
    operation.skipped = dict(Counter(operation.skipped) + batch.skipped)
    watching = operation.stop_share is not None or (operation.canary is not None and not operation.canary_passed)
    if operation.verb == Verb.REDRIVE and watching:
        room = MAX_WATCHED - len(operation.watched)
        operation.watched = operation.watched + [str(each) for each in batch.moved[:room]]


def _account(operation: Operation) -> None:
    """At the end of the walk: what matched at the start and was not met any more has changed meanwhile."""
    met = operation.done + operation.failed + sum(operation.skipped.values())
    if operation.matched_exact and met < operation.matched:
        operation.skipped = dict(Counter(operation.skipped) + Counter({CHANGED: operation.matched - met}))
    else:
        operation.matched, operation.matched_exact = met, True


def _end(operation: Operation, state: OperationState, sentence: str) -> None:
    operation.state, operation.sentence = state, sentence
    operation.node = operation.lease = operation.due = None
    operation.watched = []


def _changed(operation: Operation) -> dict[str, Any]:
    names = (
        "state", "passed", "matched", "matched_exact", "done", "skipped", "failed", "watched", "watched_ended",
        "watched_failed", "canary_passed", "canary_at", "node", "lease", "due", "clock", "sentence",
    )  # fmt: skip
    values = {name: getattr(operation, name) for name in names}
    return values if operation.state == OperationState.RUNNING else {**values, "ended_at": clock.Now()}
