"""Moves the tasks of one batch, in the caller's write transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from tasks_app.lifecycle import cancel_many, delete_many, prioritize_many, redrive_many
from tasks_app.models import Operation, Status, Task, TaskFilter, TaskQuerySet, Verb
from tasks_app.operations.plan import FITS, Plan, plan_of
from tasks_app.operations.sentences import CHANGED, GONE, LIVING_TWIN
from tasks_app.operations.walk import next_ids

#: What the verbs do not need.
_LARGE = ("task_data", "result", "metadata", "tags", "last_error")


@dataclass
class Batch:
    """What came of a batch. `moved`: ids. `cursor`: how far the operation has come; None: it has passed all tasks.

    `busy`: another transaction has locked the first task, so that nothing was done.
    """

    moved: list[UUID] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    cursor: UUID | None = None
    busy: bool = False


def move(operation: Operation, size: int, give_up: bool = False) -> Batch:
    """Move the next tasks of an operation, at most `size`.

    `give_up`: the database refuses this batch of one task; it is counted as failed. Raises DatabaseError.
    """
    plan = plan_of(operation)
    wanted = plan.wanted
    last = operation.last_id if wanted.last_id is None else min(operation.last_id, wanted.last_id)
    scope = replace(plan.scope, last_id=last)
    ids, cursor = next_ids(scope, operation.cursor, size)
    batch = Batch(cursor=cursor)
    fitting = replace(scope, ids=None, statuses=_fitting(plan))
    rows = list(_lock(fitting, ids, plan, operation.created_at))
    if missing := set(ids) - {row.pk for row in rows}:
        matching = _still(fitting, missing, plan, operation.created_at)
        if busy := set(matching.values_list("pk", flat=True)):
            # Locked by another transaction, whose rows this one must not wait for while it holds others.
            first = min(busy)
            ids = [each for each in ids if each < first]
            if not ids:
                return Batch(cursor=operation.cursor, busy=True)
            rows = [row for row in rows if row.pk < first]
            missing = {each for each in missing if each < first}
            batch.cursor = ids[-1]
        batch.skipped = _reasons(missing, FITS[plan.verb])
    if rows and give_up:
        batch.failed = len(rows)
    elif rows:
        _act(plan, operation, rows, batch)
    return batch


def _fitting(plan: Plan) -> frozenset[str]:
    fits, asked = FITS[plan.verb], plan.wanted.statuses
    return fits if asked is None else fits & asked


def _still(fitting: TaskFilter, ids: set[UUID] | list[UUID], plan: Plan, started: datetime) -> TaskQuerySet:
    """Of these tasks, those that match now and existed at the start; for a redrive, had failed by then."""
    rows = fitting.matching(Task.objects.filter(pk__in=ids, created_at__lte=started))
    return rows.filter(completed_at__lt=started) if plan.verb == Verb.REDRIVE else rows


def _lock(fitting: TaskFilter, ids: list[UUID], plan: Plan, started: datetime) -> TaskQuerySet:
    # SKIP LOCKED avoids a deadlock with a settle or another batch. The conditions are checked again on what is locked.
    rows = _still(fitting, ids, plan, started).select_for_update(skip_locked=True)
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
