"""One batch of an operation, with its row in one transaction."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from django.db import DatabaseError, DataError, IntegrityError, OperationalError

from tasks_app.models import Operation, OperationState, Verb
from tasks_app.operations.batch import Batch, move
from tasks_app.operations.sentences import CHANGED, completed, stopped
from tasks_app.operations.watch import MAX_WATCHED, observe, waits_for_canary
from tasks_app.process.fail_points import fail_point
from tasks_app.store import clock
from tasks_app.store.batch_size import BatchSize
from tasks_app.store.current import store
from tasks_app.store.refusal import Refusal
from tasks_app.store.transactions import writing

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
