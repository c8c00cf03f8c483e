"""live events: the output of a running attempt, until its own row has its log. They move no task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.db.models.functions import Now

from tasks_app.db.lookups import pairs_in
from tasks_app.queue.attempt import LiveEvents
from tasks_app.queue.current import bare_writing, store, writing
from tasks_app.queue.due_work import KEEP_LIVE_EVENTS_SECONDS
from tasks_app.queue.maintenance import run_batches
from tasks_app.queue.models import Attempt, LiveEvent, Task, logs_of
from tasks_app.runner.endings import OutcomeKind

#: Attempts whose events are removed in one transaction. Each has some thousand rows at most, and usually a few.
ATTEMPTS_PER_TRANSACTION = 100
TRANSACTIONS_PER_CALL = 50
#: Without an end: longer than any handler may take to clean up after a cancel, usually.
KEEP_WITHOUT_END_SECONDS = 3600.0


def write_live_events(node: str, batches: Sequence[LiveEvents]) -> set[tuple[str, int]]:
    """Store live events of running attempts. Returns the (id, attempt) whose events are stored."""
    with bare_writing(one_statement=True, durable=False):
        return store().add_live_events(node, batches)


def end_live_events(batches: Sequence[LiveEvents]) -> None:
    """Store the last events of attempts that have ended, and the `end` of each. Needs a transaction.

    Keeps nothing of a deleted task, nor of an attempt that another node has ended.
    """
    keys = [(UUID(batch.task_id), batch.attempt) for batch in batches]
    rows = Attempt.objects.filter(pairs_in("task_id", "number", keys)).values_list("task_id", "number", "outcome")
    outcomes = {(str(task_id), number): outcome for task_id, number, outcome in rows}
    ended = [
        batch._replace(events=[*batch.events, ("end", {"outcome": outcomes[batch.task_id, batch.attempt]})])
        for batch in batches
        if (batch.task_id, batch.attempt) in outcomes
    ]
    if ended:
        store().end_live_events(ended)


def end_lost_live_events(attempts: Sequence[tuple[UUID, int]], outcome: OutcomeKind) -> None:
    """Store the `end` of attempts that a move took from their nodes, in its transaction: after the last event of each
    that has any."""
    if not attempts:
        return
    events = LiveEvent.objects.filter(pairs_in("task_id", "attempt", attempts)).values_list("task_id", "attempt")
    ended = [
        LiveEvents(str(task_id), attempt, last + 1, [("end", {"outcome": outcome.value})])
        for task_id, attempt, last in events.annotate(last=Max("sequence"))
    ]
    if ended:
        store().end_live_events(ended)


def stored_logs(attempts: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], dict[str, str]]:
    """The logs of some attempts so far, as fields of their rows; of those without live events there is nothing."""
    if not attempts:
        return {}
    events = LiveEvent.objects.filter(pairs_in("task_id", "attempt", attempts), kind="log")
    rows = events.order_by("task_id", "attempt", "sequence").values_list("task_id", "attempt", "body")
    return {
        key: {f"{stream}_tail": text for stream, text in logs_of(body for _, _, body in logs).items()}
        for key, logs in groupby(rows, key=lambda row: row[:2])
    }


def forget_live_events() -> int:
    """Remove the events of attempts that ended a minute ago, for a second at most. Returns the number of attempts."""
    ended = LiveEvent.objects.filter(kind="end", at__lte=Now() - timedelta(seconds=KEEP_LIVE_EVENTS_SECONDS))
    return run_batches(lambda: _forget_batch(ended), ATTEMPTS_PER_TRANSACTION, TRANSACTIONS_PER_CALL)


def forget_lost_live_events() -> int:
    """Remove the events of attempts that do not run any more and have no end, as `forget_live_events`.

    Their nodes were killed after the tasks were cancelled or deleted. Reads a row for each attempt that has run for an
    hour.
    """
    running = Task.objects.running_by_key().filter(pk=OuterRef("task_id"), attempts=OuterRef("attempt"))
    old = LiveEvent.objects.filter(sequence=1, at__lte=Now() - timedelta(seconds=KEEP_WITHOUT_END_SECONDS))
    lost = old.filter(~Exists(running))
    return run_batches(lambda: _forget_batch(lost), ATTEMPTS_PER_TRANSACTION, TRANSACTIONS_PER_CALL)


def _forget_batch(over: QuerySet[LiveEvent]) -> int:
    found = over.order_by("at").values_list("task_id", "attempt")
    if not found[:1]:  # a read: takes no lock if there is nothing to do
        return 0
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes.
        attempts = list(found.select_for_update(skip_locked=True)[:ATTEMPTS_PER_TRANSACTION])
        if attempts:
            LiveEvent.objects.filter(pairs_in("task_id", "attempt", attempts))._raw_delete(DEFAULT_DB_ALIAS)
    return len(attempts)
