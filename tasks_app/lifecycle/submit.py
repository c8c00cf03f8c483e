"""What one call submits, and what came of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from uuid import UUID

import structlog
import uuid_utils.compat as uuids
from django.db import InterfaceError, OperationalError, connection, transaction

from tasks_app.broker.notification import notify
from tasks_app.lifecycle import keys_and_options
from tasks_app.lifecycle.keys_and_options import IdempotencyKey, KeyReused, TasksWithOptions
from tasks_app.metrics.freshness import freshness
from tasks_app.models import IdempotencyKey as IdempotencyRow
from tasks_app.process.fail_points import fail_point
from tasks_app.store import clock
from tasks_app.store.current import store
from tasks_app.store.new_idempotency_key import NewIdempotencyKey
from tasks_app.store.new_task import NewTask
from tasks_app.store.transactions import bare_writing, writing


class Submission(NamedTuple):
    """The tasks of one call, all or none."""

    new: Sequence[NewTask]
    key: IdempotencyKey | None = None

    @property
    def plain(self) -> bool:
        """True if nothing that is stored already can change what it stores."""
        return self.key is None and all(task.options is None for task in self.new)


class Submitted(NamedTuple):
    """The tasks that a call named, in its order, once they are committed.

    `existing`: for each, whether it was stored before, because it has the same unique key; None if no task has one.
    `replayed`: an earlier request with this idempotency key had the same answer.
    """

    ids: list[UUID]
    existing: list[bool] | None = None
    replayed: bool = False

    @property
    def stored(self) -> int:
        """How many tasks the call stored."""
        return 0 if self.replayed else len(self.ids) - sum(self.existing or ())


logger = logging.getLogger(__name__)


def submit(task_type: str, task_data: Mapping[str, Any] | None = None, priority: int = 50) -> UUID:
    """Store a task and return its id. It is committed by then and survives a power cut."""
    return submit_many([NewTask(task_type, task_data or {}, priority)])[0]


def submit_many(new: Sequence[NewTask]) -> list[UUID]:
    """Store tasks, all or none, in one transaction. Their ids and their positions follow the order of `new`."""
    return submit_one(Submission(new)).ids


def submit_one(submission: Submission) -> Submitted:
    """As `submit_many`. Raises KeyReused or KeysContended."""
    with writing():
        if submission.plain:
            outcome: Submitted | KeyReused = Submitted(insert(submission.new))
            ready = submission.new
        else:
            (outcome,), ready, _ = store_group([submission])
        transaction.on_commit(partial(notify_for, ready))
    if isinstance(outcome, KeyReused):
        raise outcome
    return outcome


def insert(new: Sequence[NewTask]) -> list[UUID]:
    """As `submit_many` in the caller's transaction (on PostgreSQL none is needed), and without a notification."""
    if not new:
        return []
    ids = [uuids.uuid7() for _ in new]
    store().insert(new, ids, [each.text for each in new])
    return ids


def notify_for(new: Sequence[NewTask]) -> None:
    """After the commit of tasks: let the metrics show them, and notify the nodes.

    Never raises: the tasks are stored, so the submit must not seem to have failed.
    """
    freshness.changed()
    try:
        fail_point("between_commit_and_bell")
        highest: dict[str, int] = {}
        for each in new:
            highest[each.task_type] = max(each.priority, highest.get(each.task_type, 0))
        for name, priority in highest.items():
            notify(name, priority)
    except Exception:
        logger.exception("no notification was sent for stored tasks; the nodes find them by polling")


log = structlog.get_logger(__name__)


class Stored(NamedTuple):
    """What came of each submission, and the tasks that were stored and may start at once.

    `left`: places of submissions that have no outcome yet: their idempotency keys are known, they need `store_group`.
    """

    outcomes: list[Submitted | KeyReused]
    ready: list[NewTask]
    left: Sequence[int] = ()


#: A transaction that has so many tasks takes no further submission.
MAX_TRANSACTION_TASKS = 1000

#: Called once with the tasks of a submission, after they are committed, or with the reason why they are not stored.
Callback = Callable[[Submitted | Exception], None]
Waiting = tuple[Submission, Callback]
#: Begins a transaction, and stores submissions in it.
Begin = Callable[[], AbstractContextManager[object]]
Storing = Callable[[Sequence[Submission]], Stored]


class Intake:
    """The submissions of this process that are not stored yet."""

    def __init__(self) -> None:
        self._plain = IntakeThread("intake", lambda: bare_writing(one_statement=True), _insert_all)
        self._with_options = IntakeThread("intake of options and keys", _begin, store_submissions)

    def submit(self, submission: Submission) -> Submitted:
        """Store a submission, all of it or nothing. Raises what its transaction raised, KeyReused or KeysContended.

        Within a transaction of the caller's own, which cannot be shared, it is part of that.
        """
        if connection.in_atomic_block:
            return submit_one(submission)
        outcomes: SimpleQueue[Submitted | Exception] = SimpleQueue()
        self.submit_nowait(submission, outcomes.put)
        if isinstance(outcome := outcomes.get(), Exception):
            raise outcome
        return outcome

    def submit_nowait(self, submission: Submission, callback: Callback) -> None:
        """As `submit`, but for an event loop: in each of its tasks Django would make a connection of its own.

        The callback runs on a thread of the intake. Raises RuntimeError if that thread cannot be started.
        """
        (self._plain if submission.plain else self._with_options).submit(submission, callback)


class IntakeThread:
    """A thread that stores submissions, by `store` within `begin`."""

    def __init__(self, name: str, begin: Begin, store: Storing) -> None:
        self._name, self._begin, self._insert = name, begin, store
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[Waiting] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, submission: Submission, callback: Callback) -> None:
        """See `Intake.submit_nowait`."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
        self._waiting.put((submission, callback))

    def _run(self) -> None:
        while True:
            self._store([self._waiting.get()], self._begin, self._insert)

    def _store(self, taken: list[Waiting], begin: Begin, store: Storing) -> None:
        """Store these submissions, and others that wait, in one transaction."""
        try:
            connection.close_if_unusable_or_obsolete()  # as Django does at the beginning of a request
            with begin():
                # Only now: submissions that arrive while this waits for the write lock join the transaction.
                self._take_more(taken, MAX_TRANSACTION_TASKS)
                stored = store([submission for submission, _ in taken])
        except (OperationalError, InterfaceError) as error:
            # The database is unavailable. Submissions that arrived meanwhile fail too: each would wait as long again.
            self._take_more(taken)
            for _, callback in taken:
                _call_back(callback, type(error)(*error.args))  # one each: each is raised on its own thread
        except Exception as error:
            if len(taken) == 1:
                _call_back(taken[0][1], error)
            else:
                _store_separately(taken)
        else:
            notify_for(stored.ready)
            left = [taken[at] for at in stored.left]
            done = [each for at, each in enumerate(taken) if at not in stored.left]
            for (_, callback), outcome in zip(done, stored.outcomes, strict=True):
                _call_back(callback, outcome)
            if left:
                self._store(left, writing, store_group)

    def _take_more(self, taken: list[Waiting], max_tasks: float = float("inf")) -> None:
        """Add the oldest submissions that wait, until there are `max_tasks` tasks."""
        size = sum(len(submission.new) for submission, _ in taken)
        try:
            while size < max_tasks:
                taken.append(self._waiting.get_nowait())
                size += len(taken[-1][0].new)
        except Empty:
            pass


def _begin() -> AbstractContextManager[object]:
    """With one writer, a transaction: while it is waited for, others join. Else one statement may be enough."""
    return writing() if store().single_writer else bare_writing(one_statement=True)


def _insert_all(submissions: Sequence[Submission]) -> Stored:
    new = [task for submission in submissions for task in submission.new]
    ids = iter(insert(new))
    return Stored([Submitted([next(ids) for _ in submission.new]) for submission in submissions], new)


def _store_separately(waiting: list[Waiting]) -> None:
    """Store each in a transaction of its own, so that one caller's invalid data fails only that caller."""
    for submission, callback in waiting:
        try:
            outcome: Submitted | Exception = submit_one(submission)
        except Exception as error:
            outcome = error
        _call_back(callback, outcome)


def _call_back(callback: Callback, outcome: Submitted | Exception) -> None:
    """Call a caller back. Its own error must not end the thread, or all other callers would wait for ever."""
    try:
        callback(outcome)
    except Exception:
        log.exception("the answer to a submission failed; its tasks are as the database has them")


def store_submissions(submissions: Sequence[Submission]) -> Stored:
    """As `store_group`, but begins a transaction if it needs one. Plain tasks with keys are stored by one statement.

    What has the key of an earlier request, also of one of this group, is left for a transaction of its own: if that
    fails, what is stored here stays.
    """
    if any(each.key is None or any(task.options for task in each.new) for each in submissions):
        with writing():
            return store_group(submissions)
    ids = [[uuids.uuid7() for _ in each.new] for each in submissions]
    firsts: dict[keys_and_options.Name, int] = {}
    keys: list[NewIdempotencyKey] = []
    new: list[NewTask] = []
    for at, each in enumerate(submissions):
        if each.key is not None and firsts.setdefault(keys_and_options.name_of(each.key), at) == at:
            keys.append(keys_and_options.new_idempotency_key(each.key, range(len(new), len(new) + len(each.new))))
            new += each.new
    # Sorted, or two transactions with the same keys in another order would wait for each other.
    keys.sort(key=lambda key: (key.owner, key.key))
    named = [identity for at in firsts.values() for identity in ids[at]]
    stored = store().insert_keyed(keys, new, named, [task.text for task in new])
    mine = [at for name, at in firsts.items() if name in stored]
    return Stored(
        [Submitted(ids[at]) for at in mine],
        [task for at in mine for task in submissions[at].new],
        left=sorted(set(range(len(submissions))) - set(mine)),
    )


def store_group(submissions: Sequence[Submission]) -> Stored:
    """Store submissions in the caller's write transaction; their positions follow their order. Raises KeysContended."""
    ids = [[uuids.uuid7() for _ in each.new] for each in submissions]
    firsts: dict[keys_and_options.Name, int] = {}
    for at, each in enumerate(submissions):
        if each.key is not None:
            firsts.setdefault(keys_and_options.name_of(each.key), at)
    earlier = keys_and_options.reserve({name: (_fingerprint(submissions[at]), ids[at]) for name, at in firsts.items()})
    new = [
        at
        for at, each in enumerate(submissions)
        if each.key is None or (firsts[name := keys_and_options.name_of(each.key)] == at and name not in earlier)
    ]
    tasks = TasksWithOptions(
        [task for at in new for task in submissions[at].new],
        [identity for at in new for identity in ids[at]],
    )
    tasks.store()
    named = iter(tasks.ids())
    stored = {at: _submitted(submissions[at], ids[at], [next(named) for _ in ids[at]]) for at in new}
    outcomes: list[Submitted | KeyReused] = []
    for at, each in enumerate(submissions):
        if at in stored:
            outcomes.append(stored[at])
        elif each.key is not None:
            name = keys_and_options.name_of(each.key)
            first = stored.get(firsts[name])
            outcomes.append(
                answer(earlier[name], each.key.fingerprint)
                if first is None
                else _again(first, each, submissions[firsts[name]])
            )
    return Stored(outcomes, tasks.ready())


def _submitted(submission: Submission, ids: Sequence[UUID], named: list[UUID]) -> Submitted:
    """The outcome of a submission whose tasks are named so, remembered under its idempotency key."""
    if all(task.options is None or task.options.unique_key is None for task in submission.new):
        return Submitted(named)
    submitted = Submitted(named, [known != identity for identity, known in zip(ids, named, strict=True)])
    if submission.key is not None:
        keys_and_options.correct(keys_and_options.name_of(submission.key), submitted.ids, submitted.existing)
    return submitted


def _again(first: Submitted, submission: Submission, of: Submission) -> Submitted | KeyReused:
    """The outcome of a submission whose idempotency key another one of the same group has."""
    same = _fingerprint(submission) == _fingerprint(of)
    return first._replace(replayed=True) if same else KeyReused(first.ids[0])


def _fingerprint(submission: Submission) -> str:
    return "" if submission.key is None else submission.key.fingerprint


def answer(row: IdempotencyRow, fingerprint: str) -> Submitted | KeyReused:
    """What a request with the key of an earlier one is answered."""
    ids = [UUID(text) for text in row.task_ids]
    return Submitted(ids, row.existing, replayed=True) if row.fingerprint == fingerprint else KeyReused(ids[0])


def earlier(key: IdempotencyKey) -> Submitted | None:
    """What an earlier request with this key was answered; None if there was none. Raises KeyReused."""
    kept = IdempotencyRow.objects.filter(owner=key.owner, key=key.key, expires_at__gt=clock.Now())
    if (row := kept.first()) is None:
        return None
    if isinstance(outcome := answer(row, key.fingerprint), KeyReused):
        raise outcome
    return outcome


intake = Intake()
