"""Ends of tasks are told: for each end that was not told yet a delivery is written, whose body is fixed then.

A final move knows of no callback: a settle, an expiry, a cancel, and a rescue send the same statements with and
without it. An ended row with a `callback_url` whose end was not told is found by a partial index. Its delivery
and its mark are one transaction, so that each end is told once, whatever process dies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from django.db import OperationalError
from django.db.models import F
from django.db.models.functions import Now

from tasks_app.api.errors import dump
from tasks_app.api.pages import objects_by_id
from tasks_app.features.callbacks import UNTOLD
from tasks_app.features.callbacks.addresses import endpoint
from tasks_app.features.callbacks.jobs import TASKS_PER_TRANSACTION
from tasks_app.features.callbacks.models import Delivery, Event
from tasks_app.handlers.words import rfc3339
from tasks_app.node.threads import MAX_CALL_SECONDS
from tasks_app.process import fail_point
from tasks_app.queue.current import BatchSize, require_all, store, writing
from tasks_app.queue.followed import Leaves
from tasks_app.queue.maintenance import run_batches
from tasks_app.queue.models import FailureReason, Task, TaskQuerySet
from tasks_app.queue.store import DatabaseRefusal
from tasks_app.runner.endings import split_stderr

#: A body that would have more bytes has neither the task's data nor its result. What else a task has is small.
MAX_BODY_BYTES = 256 * 1024
TRANSACTIONS_PER_CALL = 20
#: Of the bodies that are made at once, unless a single one has more.
MAX_BYTES = 4 * 1024 * 1024
#: How a task fails whose `last_error` is its handler's text.
_OWN_WORDS = (FailureReason.HANDLER_ERROR, FailureReason.RETRIES_EXHAUSTED)


class _End(NamedTuple):
    """An end that is to be told. `size`: bytes of the task's data and result; None: not known."""

    task: UUID
    task_type: str
    status: str
    ended_at: datetime
    reason: str | None
    url: str
    key: int | None
    error: str | None
    size: int | None

    @property
    def event(self) -> Event:
        """What is told."""
        return Event(f"task.{self.status}")

    @property
    def is_large(self) -> bool:
        """Whether its values need not be read: no body has room for them."""
        return self.size is None or self.size > MAX_BODY_BYTES


def tell_ended(size: BatchSize | None = None) -> int:
    """Tell ends that were not told yet, for a second and 4,000 at most. Returns how many. Raises DatabaseError.

    `size`: of a transaction, for a next call too; a database that does not finish one in time halves it.
    """
    batch = partial(_tell_in_time, store().first_times().ended("untold"), size or BatchSize(TASKS_PER_TRANSACTION))
    return run_batches(batch, 1, TRANSACTIONS_PER_CALL)  # one with large bodies does few


def _tell_in_time(first: datetime, size: BatchSize) -> int:
    begun = store().elapsed()
    try:
        told = _tell_batch(first, size.rows)
    except OperationalError as error:
        # The server's limit of time, or that of a side job's calls: then the connection is lost.
        late = store().is_server and store().elapsed() >= begun + MAX_CALL_SECONDS
        if late or store().refusal(error) is DatabaseRefusal.COST:
            size.refused(size.rows)
        raise
    size.taken(told)
    return told


def _tell_batch(first: datetime, most: int) -> int:
    untold = Task.objects.where(UNTOLD).filter(completed_at__gte=first).order_by("completed_at")
    if not untold.any_by("completed_at"):  # a read: takes no lock if there is nothing to do
        return 0
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes, and with a redrive or a prune.
        ends = _ends(untold.select_for_update(skip_locked=True), most)
        # One part: where one writer at a time is, all others wait for its bodies.
        part = next(_parts(ends), [])
        if part:
            _tell(part)
    fail_point("after_telling")
    return len(part)


def tell_before(ids: Sequence[UUID]) -> None:
    """In the caller's transaction, which has locked them, before ended tasks are redriven or pruned."""
    for part in _parts(_ends(Task.objects.where(UNTOLD).filter(pk__in=ids), len(ids))):
        _tell(part)


leaves = Leaves(tell_before, frozenset({"redrive", "prune"}), attrgetter("callback_url"), ("callback_url",))


def _ends(rows: TaskQuerySet, most: int) -> list[_End]:
    size = store().json_bytes("task_data") + store().json_bytes("result")
    columns = (
        "pk", "task_type", "status", "completed_at", "failure_reason", "callback_url", "callback_key", "last_error",
    )  # fmt: skip
    return [_End(*row) for row in rows.values_list(*columns, size)[:most]]


def _parts(ends: Sequence[_End]) -> Iterator[list[_End]]:
    """Ends whose values have MAX_BYTES together, at least one."""
    part: list[_End] = []
    room = MAX_BYTES
    for end in ends:
        size = 0 if end.is_large else end.size or 0
        if part and size > room:
            yield part
            part, room = [], MAX_BYTES
        part.append(end)
        room -= size
    if part:
        yield part


def _tell(ends: Sequence[_End]) -> None:
    """Write the deliveries of locked tasks, and mark them, in the caller's transaction."""
    small = objects_by_id([end.task for end in ends if not end.is_large], without=("last_error",))
    bodies = {end.task: _body(end, small[end.task]) for end in ends if end.task in small}
    large = [end for end in ends if len(bodies.get(end.task, b"")) > MAX_BODY_BYTES or end.task not in small]
    without = ("last_error", "task_data", "result")
    cut = objects_by_id([end.task for end in large], without=without)
    bodies |= {end.task: _body(end, cut[end.task], whole=False) for end in large}
    Delivery.objects.bulk_create(_delivery(end, bodies[end.task].decode()) for end in ends)
    fail_point("inside_telling")
    ids = [end.task for end in ends]
    require_all(Task.objects.where(UNTOLD).filter(pk__in=ids).update(callback_told=F("completed_at")), len(ids))


def _delivery(end: _End, body: str) -> Delivery:
    return Delivery(
        task=end.task, task_type=end.task_type, key=end.key, url=end.url, host=_host(end.url), event=end.event,
        body=body, created_at=Now(), next_at=Now(),
    )  # fmt: skip


def _host(url: str) -> str:
    try:
        return endpoint(url).host_key
    except ValueError:  # changed by hand: each try will say so
        return ""


def _body(end: _End, task: bytes, whole: bool = True) -> bytes:
    """What is sent: the task as GET answers it, which is `task` but for its error, in an envelope."""
    error = end.error
    # All but a handler's own words: a task that has ended otherwise may still have the error of an earlier crash.
    if error is not None and end.reason not in _OWN_WORDS:
        error, _ = split_stderr(error)
    more = b"" if whole else b',"truncated":true'
    data = b'%b,"last_error":%b%b}' % (task[:-1], dump(error), more)
    return b'{"type":%b,"timestamp":%b,"data":%b}' % (dump(end.event), dump(rfc3339(end.ended_at)), data)
