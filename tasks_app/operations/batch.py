"""Moves the tasks of one batch, in the caller's write transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import accumulate
from uuid import UUID

from tasks_app.lifecycle import cancel_many, delete_many, prioritize_many, redrive_many
from tasks_app.models import Operation, Status, Task, TaskFilter, TaskQuerySet, Verb
from tasks_app.operations.plan import FITS, Plan, plan_of
from tasks_app.operations.sentences import CHANGED, GONE, LIVING_TWIN
from tasks_app.operations.walk import next_ids
from tasks_app.store.current import store

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
