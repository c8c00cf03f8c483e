"""submit: (none) -> pending. Tasks are inserted and committed; then the nodes are notified.

Requests that arrive at the same moment share one commit (`group_commit`). What has keys or options is stored with the
help of `keys_and_options`.
"""

from __future__ import annotations

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
from tasks_app.process.fail_points import fail_point
from tasks_app.queue.counters import freshness
from tasks_app.queue.current import bare_writing, store, writing
from tasks_app.queue.keys_and_options import (
    EarlierRequest,
    IdempotencyKey,
    KeyReused,
    correct,
    earlier_request,
    new_idempotency_key,
    reserve,
    store_tasks,
)
from tasks_app.queue.new_task import NewIdempotencyKey, NewTask

log = structlog.get_logger(__name__)

#: A transaction that has so many tasks takes no further submission.
MAX_TRANSACTION_TASKS = 1000


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


class Stored(NamedTuple):
    """What came of the submissions of a transaction, by their indexes, and the tasks that may start at once.

    A submission without an outcome still needs `store_group`, because its idempotency key is known.
    """

    outcomes: Mapping[int, Submitted | KeyReused]
    ready: Sequence[NewTask]


def submit(task_type: str, task_data: Mapping[str, Any] | None = None, priority: int = 50) -> UUID:
    """Store a task and return its id. It is committed by then and survives a power cut."""
    return submit_many([NewTask(task_type, task_data or {}, priority)])[0]


def submit_many(new: Sequence[NewTask]) -> list[UUID]:
    """Store tasks, all or none, in one transaction. Their ids and their positions follow the order of `new`."""
    return submit_one(Submission(new)).ids


def submit_one(submission: Submission) -> Submitted:
    """As `submit_many`. Raises KeyReused or KeysContended. Within the caller's transaction it is part of that."""
    with writing():
        stored = (_store_plain if submission.plain else store_group)([submission])
        transaction.on_commit(partial(notify_for, stored.ready))
    outcome = stored.outcomes[0]
    if isinstance(outcome, KeyReused):
        raise outcome
    return outcome


#: Called once with the tasks of a submission, after they are committed, or with the reason why they are not stored.
Callback = Callable[[Submitted | Exception], None]
Waiting = tuple[Submission, Callback]
#: Begins a transaction, and stores submissions in it.
Begin = Callable[[], AbstractContextManager[object]]
Store = Callable[[Sequence[Submission]], Stored]


class GroupCommit:
    """Stores the submissions of concurrent calls, with one transaction and so one disk sync for all that wait.

    Submissions with keys may have to wait for another transaction. They have a thread of their own, so that plain ones
    do not wait with them.
    """

    def __init__(self) -> None:
        self._plain = CommitThread("group commit", lambda: bare_writing(one_statement=True), _store_plain)
        self._keyed = CommitThread("group commit of keys and options", _begin_keyed, _store_keyed)

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

        The callback runs on the thread that commits. Raises RuntimeError if that thread cannot be started.
        """
        (self._plain if submission.plain else self._keyed).submit(submission, callback)


class CommitThread:
    """A thread that takes all submissions that wait, stores them by `store` within `begin`, and calls their callers."""

    def __init__(self, name: str, begin: Begin, store: Store) -> None:
        self._name, self._begin, self._store = name, begin, store
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[Waiting] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, submission: Submission, callback: Callback) -> None:
        """See `GroupCommit.submit_nowait`."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
        self._waiting.put((submission, callback))

    def _run(self) -> None:
        while True:
            self._commit([self._waiting.get()], self._begin, self._store)

    def _commit(self, group: list[Waiting], begin: Begin, store: Store) -> None:
        """Store this group, and other submissions that wait, in one transaction."""
        try:
            connection.close_if_unusable_or_obsolete()  # as Django does at the beginning of a request
            with begin():
                # Only now: submissions that arrive while this waits for the write lock join the transaction.
                self._take_more(group, MAX_TRANSACTION_TASKS)
                stored = store([submission for submission, _ in group])
        except (OperationalError, InterfaceError) as error:
            # The database is unavailable. Submissions that arrived meanwhile fail too: each would wait as long again.
            self._take_more(group)
            for _, callback in group:
                _call_back(callback, type(error)(*error.args))  # one each: each is raised on its own thread
        except Exception as error:
            if len(group) == 1:
                _call_back(group[0][1], error)
            else:
                _store_separately(group)
        else:
            notify_for(stored.ready)
            known = []
            for index, (submission, callback) in enumerate(group):
                if index in stored.outcomes:
                    _call_back(callback, stored.outcomes[index])
                else:
                    known.append((submission, callback))
            if known:
                self._commit(known, writing, store_group)

    def _take_more(self, group: list[Waiting], max_tasks: float = float("inf")) -> None:
        """Add the oldest submissions that wait, until there are `max_tasks` tasks."""
        size = sum(len(submission.new) for submission, _ in group)
        try:
            while size < max_tasks:
                group.append(self._waiting.get_nowait())
                size += len(group[-1][0].new)
        except Empty:
            pass


def _store_separately(group: Sequence[Waiting]) -> None:
    """Store each in a transaction of its own, so that one caller's invalid data fails only that caller."""
    for submission, callback in group:
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


def _store_plain(submissions: Sequence[Submission]) -> Stored:
    new = [task for submission in submissions for task in submission.new]
    ids = iter(insert(new))
    outcomes = {index: Submitted([next(ids) for _ in submission.new]) for index, submission in enumerate(submissions)}
    return Stored(outcomes, new)


def insert(new: Sequence[NewTask]) -> list[UUID]:
    """As `submit_many` in the caller's transaction (on PostgreSQL none is needed), and without a notification."""
    if not new:
        return []
    ids = [uuids.uuid7() for _ in new]
    store().insert(new, ids, [task.text for task in new])
    return ids


def _begin_keyed() -> AbstractContextManager[object]:
    """With one writer, a transaction: while it is waited for, others join. Else one statement may be enough."""
    return writing() if store().single_writer else bare_writing(one_statement=True)


def _store_keyed(submissions: Sequence[Submission]) -> Stored:
    """As `store_group`, but begins a transaction if it needs one. Plain tasks with keys are stored by one statement.

    What has the key of an earlier request, also of one of this group, is left for a transaction of its own: if that
    fails, what is stored here stays.
    """
    if any(submission.key is None or any(task.options for task in submission.new) for submission in submissions):
        with writing():
            return store_group(submissions)
    firsts = _first_requests(submissions)
    ids = {index: [uuids.uuid7() for _ in submissions[index].new] for index in firsts}
    keys: list[NewIdempotencyKey] = []
    new: list[NewTask] = []
    for index, key in firsts.items():
        tasks = submissions[index].new
        keys.append(new_idempotency_key(key, range(len(new), len(new) + len(tasks))))
        new += tasks
    # Sorted, or two transactions with the same keys in another order would wait for each other.
    keys.sort(key=lambda key: (key.owner, key.key))
    identities = [identity for index in firsts for identity in ids[index]]
    names = store().insert_keyed(keys, new, identities, [task.text for task in new])
    stored = [index for index, key in firsts.items() if key.name in names]
    return Stored(
        {index: Submitted(ids[index]) for index in stored},
        [task for index in stored for task in submissions[index].new],
    )


def store_group(submissions: Sequence[Submission]) -> Stored:
    """Store submissions in the caller's write transaction; their positions follow their order. Raises KeysContended."""
    ids = [[uuids.uuid7() for _ in submission.new] for submission in submissions]
    firsts = _first_requests(submissions)
    requests = reserve({key: ids[index] for index, key in firsts.items()})
    storing = [
        index
        for index, submission in enumerate(submissions)
        if submission.key is None or (index in firsts and submission.key.name not in requests)
    ]
    tasks = store_tasks(
        [task for index in storing for task in submissions[index].new],
        [identity for index in storing for identity in ids[index]],
    )
    stored_ids = iter(tasks.ids)
    outcomes: dict[int, Submitted | KeyReused] = {}
    for index, (submission, new_ids) in enumerate(zip(submissions, ids, strict=True)):
        key = submission.key
        if key is not None and key.name in requests:
            outcomes[index] = _replay(key, requests[key.name])
            continue
        outcomes[index] = submitted = _outcome(submission, new_ids, [next(stored_ids) for _ in new_ids])
        if key is not None:  # a later submission of the group may have it too
            requests[key.name] = EarlierRequest(key.fingerprint, submitted.ids, submitted.existing)
    return Stored(outcomes, tasks.ready)


def _first_requests(submissions: Sequence[Submission]) -> dict[int, IdempotencyKey]:
    """The idempotency keys by their submissions' indexes. Of several submissions with one key it has the first."""
    firsts: dict[int, IdempotencyKey] = {}
    names = set()
    for index, submission in enumerate(submissions):
        if submission.key is not None and submission.key.name not in names:
            names.add(submission.key.name)
            firsts[index] = submission.key
    return firsts


def _outcome(submission: Submission, new_ids: Sequence[UUID], ids: list[UUID]) -> Submitted:
    """The outcome of a submission whose tasks have these ids, remembered under its idempotency key."""
    if all(task.options is None or task.options.unique_key is None for task in submission.new):
        return Submitted(ids)
    existing = [identity != new for identity, new in zip(ids, new_ids, strict=True)]
    if submission.key is not None:
        correct(submission.key, ids, existing)
    return Submitted(ids, existing)


def earlier_answer(key: IdempotencyKey) -> Submitted | None:
    """What an earlier request with this key was answered; None if there was none. Raises KeyReused."""
    if (request := earlier_request(key)) is None:
        return None
    if isinstance(outcome := _replay(key, request), KeyReused):
        raise outcome
    return outcome


def _replay(key: IdempotencyKey, earlier: EarlierRequest) -> Submitted | KeyReused:
    """The outcome of a submission whose idempotency key an earlier request had."""
    if key.fingerprint != earlier.fingerprint:
        return KeyReused(earlier.ids[0])
    return Submitted(earlier.ids, earlier.existing, replayed=True)


def notify_for(new: Sequence[NewTask]) -> None:
    """After the commit of tasks: let the metrics show them, and notify the nodes.

    Never raises: the tasks are stored, so the submit must not seem to have failed.
    """
    freshness.changed()
    try:
        fail_point("between_commit_and_bell")
        highest: dict[str, int] = {}
        for task in new:
            highest[task.task_type] = max(task.priority, highest.get(task.task_type, 0))
        for name, priority in highest.items():
            notify(name, priority)
    except Exception:
        log.exception("no notification was sent for stored tasks; the nodes find them by polling")


#: The submissions of this process's requests.
group_commit = GroupCommit()
