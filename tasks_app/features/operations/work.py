"""Nodes work off operations: a thread of each takes turns among those that run, and does a batch of each.

A batch, its counts and how far the operation has come are one transaction. Of redriven tasks it is watched what becomes
of them: the others wait for the canary, and an operation stops if too many fail again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, DataError, Error, IntegrityError, OperationalError, connection
from django.db.models.functions import Now

from tasks_app.audit import recount
from tasks_app.features.operations.acts import completed, stopped, tried
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import CANARY_SECONDS, CHANGED, Batch, move
from tasks_app.handlers.words import plural
from tasks_app.logs import REMINDER_SECONDS, LogOnce
from tasks_app.node.threads import NodeThread, Retrying
from tasks_app.process import fail_point
from tasks_app.queue.current import BatchSize, store, writing
from tasks_app.queue.due_work import DueWork
from tasks_app.queue.models import FailureReason, Status, Task
from tasks_app.queue.store import DatabaseRefusal

log = structlog.get_logger(__name__)


class OperationWorker(NodeThread):
    """A thread of a node. It sleeps until the heartbeat has seen a running operation."""

    name = "operations"

    def __init__(self, node: str) -> None:
        self._node = node
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def on_beat(self, work: DueWork) -> None:
        """Wake the thread if there is a running operation."""
        if "operations" in work.features:
            self._wake.set()

    def stop(self) -> None:
        """End the thread, after the batch that it is in: another node goes on."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """The thread."""
        retrying = Retrying("work off operations")
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                self._work(retrying)
            except Error as error:
                self._stopping.wait(retrying.failed(error))
                self._wake.set()
            finally:
                connection.close()  # most of the time there is no operation

    def _work(self, retrying: Retrying) -> None:
        while not self._stopping.is_set() and (pause := work(self._node)) is not None:
            retrying.succeeded()
            self._stopping.wait(pause)
        if self._stopping.is_set():
            release(self._node)


#: Operations that a node works on in turns.
MAX_IN_TURNS = 20
#: Between the batches of an operation without a rate: as long as a batch took, within these bounds.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.005, 0.5
#: Between two looks for new operations while others wait for their next batch.
LOOK_SECONDS = 1.0

_log_once = LogOnce(REMINDER_SECONDS)


def work(node: str) -> float | None:
    """Do a batch of each running operation that no other node has. Returns the seconds until the next batch.

    None: there is nothing to do here. Raises DatabaseError.
    """
    begun = time.monotonic()
    running = Operation.objects.filter(state=OperationState.RUNNING).values_list("pk", flat=True)
    # By chance: in any other order many slow ones could keep one from its turn for ever.
    turns = list(running.order_by("?")[:MAX_IN_TURNS])
    pauses = [pause for identity in turns if (pause := _turn(identity, node)) is not None]
    if not pauses:
        return None
    took = time.monotonic() - begun
    return max(min(*pauses, LOOK_SECONDS), min(max(took, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))


def _turn(identity: UUID, node: str) -> float | None:
    """A step, as `step` returns it. None also if it fails by more than the database: it stays running, and is tried
    again at the next beat. It may be a newer version's, which this one does not understand."""
    try:
        return step(identity, node)
    except Error:
        raise
    except Exception as error:
        if _log_once.is_due(identity):
            log.error("an operation cannot be worked off by this node", operation=str(identity), exc_info=error)
        return None


def work_until_over(identity: UUID, node: str, seconds: float) -> None:
    """Do batches of one operation here, until it is over, waits, or the time is up. Raises DatabaseError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and step(identity, node) == 0.0:
        pass
    release(node)


def release(node: str) -> None:
    """Let other nodes go on with the operations of this one at once."""
    Operation.objects.filter(state=OperationState.RUNNING, node=node).update(node=None, lease=None)


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
        if store().refusal(error) is not DatabaseRefusal.COST or size.rows == 1:
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
        before, now = operation.passed, store().seconds()
        ours = operation.clock == store().clock_id()
        if ours and operation.node not in (None, node) and (operation.lease or 0.0) > now:
            return None
        if not ours:
            # Times of another boot mean nothing now: the canary's time begins anew.
            waits = operation.canary_at is not None and not operation.canary_passed
            operation.due, operation.canary_at = None, now if waits else None
        if operation.due is not None and operation.due > now:
            return operation.due - now
        operation.node, operation.lease, operation.clock = node, now + LEASE_SECONDS, store().clock_id()
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
    batch = move(operation, min(size, room), give_up)
    if batch.busy:
        return BUSY_SECONDS
    _add(operation, batch)
    if batch.passed is None and operation.done and _has_canary(operation):
        batch.passed = operation.last_id  # all tasks have gone with the canary, and it is still to be judged
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


def _room(operation: Operation) -> int:
    """How many tasks may go now."""
    room = store().tasks_per_batch
    if operation.rate is not None:
        room = max(1, min(room, int(operation.rate * RATE_TICK_SECONDS)))
    if operation.limit is not None:
        room = min(room, operation.limit - operation.done)
    if operation.canary is not None and _has_canary(operation):
        room = min(room, operation.canary - operation.done)
    return max(room, 0)


#: Of the tasks that an operation has moved, so many are kept for its page.
MAX_KEPT = 200


def _add(operation: Operation, batch: Batch) -> None:
    operation.done += len(batch.moved)
    operation.failed += batch.failed
    operation.skipped = dict(Counter(operation.skipped) + batch.skipped)
    if operation.first_moved is not None and (room := MAX_KEPT - len(operation.first_moved)) > 0:
        operation.first_moved = operation.first_moved + [str(task) for task in batch.moved[:room]]
    watching = operation.stop_share is not None or _has_canary(operation)
    if operation.verb == Verb.REDRIVE and watching:
        room = MAX_WATCHED - len(operation.watched)
        operation.watched = operation.watched + [str(task) for task in batch.moved[:room]]


def _account(operation: Operation) -> None:
    """At the end of the walk: what matched at the start and was not met any more has changed meanwhile."""
    met = tried(operation)
    if operation.matched_exact and met < operation.matched:
        operation.skipped = dict(Counter(operation.skipped) + Counter({CHANGED: operation.matched - met}))
    else:
        operation.matched, operation.matched_exact = met, True


def _end(operation: Operation, state: OperationState, sentence: str) -> None:
    operation.state, operation.sentence = state, sentence
    recount(str(operation.pk), operation.verb, operation.done)
    operation.node = operation.lease = operation.due = None
    operation.watched = []


def _changed(operation: Operation) -> dict[str, Any]:
    names = (
        "state", "passed", "matched", "matched_exact", "done", "skipped", "failed", "first_moved", "watched",
        "watched_ended", "watched_failed", "canary_passed", "canary_at", "node", "lease", "due", "clock", "sentence",
    )  # fmt: skip
    values = {name: getattr(operation, name) for name in names}
    return values if operation.state == OperationState.RUNNING else {**values, "ended_at": Now()}


# What becomes of redriven tasks: of the canary, and whether too many fail again.

#: Tasks of an operation that are watched at a time; when some have ended, later ones take their places.
MAX_WATCHED = 200
#: So many must have ended before their share of failures says anything.
MIN_ENDED = 20


def waits_for_canary(operation: Operation) -> bool:
    """Whether the canary is out, and nothing else may go before its end. It is smaller than asked for if fewer tasks
    match, or if the operation's limit is."""
    if operation.canary is None or operation.canary_passed or not operation.done:
        return False
    size = operation.canary if operation.limit is None else min(operation.canary, operation.limit)
    return operation.done >= size or (operation.passed is not None and operation.passed >= operation.last_id)


def _has_canary(operation: Operation) -> bool:
    """Whether it has a canary that has not passed."""
    return operation.canary is not None and not operation.canary_passed


def observe(operation: Operation, now: float) -> str | None:
    """Update the operation, which the caller saves, by the ends of its watched tasks.

    Returns why it has to stop, in a sentence without its full stop; None: it goes on.
    """
    ends = _ends(operation)
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


def _ends(operation: Operation) -> dict[str, tuple[str, str | None]]:
    """The status and the failure reason of each watched task that is still stored."""
    if not operation.watched:
        return {}
    rows = Task.objects.filter(pk__in=operation.watched).values_list("pk", "status", "failure_reason")
    return {str(task): (status, reason) for task, status, reason in rows}


def _canary(operation: Operation, failed: int, lost: int, now: float) -> str | None:
    size = f"{operation.done} {plural(operation.done, 'canary task')}"
    if failed:
        return f"{failed} of the {size} failed again"
    if lost:
        return f"{lost} of the {size} {plural(lost, 'was', 'were')} cancelled or deleted before the end"
    if not operation.watched:
        operation.canary_passed, operation.canary_at = True, now
        return None
    seconds = operation.canary_seconds or CANARY_SECONDS
    if operation.canary_at is not None and now - operation.canary_at > seconds:
        return f"{len(operation.watched)} of the {size} had not ended after {seconds:g} s"
    return None
