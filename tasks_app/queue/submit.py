"""submit: (none) -> pending. Tasks are inserted and committed; then the nodes are notified.

From the caller to the row: a verb, or the group commit that concurrent calls share; the insert of plain tasks; after
the commit the notification. `keyed_submit` stores what has keys or options.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

import structlog
import uuid_utils.compat as uuids
from django.db import InterfaceError, OperationalError, connection, transaction

from tasks_app.broker.notification import notify_types
from tasks_app.process import ARMED, fail_point
from tasks_app.queue.counters import freshness
from tasks_app.queue.current import bare_writing, store, writing
from tasks_app.queue.keyed_submit import begin_keyed, store_group, store_keyed
from tasks_app.queue.submission import KeyReused, NewTask, Stored, Submission, Submitted

log = structlog.get_logger(__name__)

#: A transaction that has so many tasks takes no further submission.
MAX_TRANSACTION_TASKS = 1000


def submit(task_type: str, task_data: Mapping[str, Any] | None = None, priority: int = 50) -> UUID:
    """Store a task and return its id. It is committed by then and survives a power cut."""
    return submit_many([NewTask(task_type, task_data or {}, priority)])[0]


def submit_many(new: Sequence[NewTask]) -> list[UUID]:
    """Store tasks, all or none, in one transaction. Their ids and their positions follow the order of `new`."""
    return submit_now(Submission(new)).ids


def submit_now(submission: Submission) -> Submitted:
    """Store one submission in a transaction of its own, or in the caller's. Raises KeyReused or KeysContended."""
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
BeginTransaction = Callable[[], AbstractContextManager[object]]
#: Stores submissions in the transaction that was begun for them.
StoreGroup = Callable[[Sequence[Submission]], Stored]


class GroupCommit:
    """Stores the submissions of concurrent calls, with one transaction and so one disk sync for all that wait.

    Submissions with keys may have to wait for another transaction. They have a thread of their own, so that plain ones
    do not wait with them.
    """

    def __init__(self) -> None:
        self._plain = CommitThread("group commit", lambda: bare_writing(one_statement=True), _store_plain)
        self._keyed = CommitThread("group commit of keys and options", begin_keyed, store_keyed)

    def submit(self, submission: Submission) -> Submitted:
        """Store a submission, all of it or nothing. Raises what its transaction raised, KeyReused or KeysContended.

        Within a transaction of the caller's own, which cannot be shared, it is part of that.
        """
        if connection.in_atomic_block:
            return submit_now(submission)
        outcomes: SimpleQueue[Submitted | Exception] = SimpleQueue()
        self.submit_nowait(submission, outcomes.put)
        if isinstance(outcome := outcomes.get(), Exception):
            raise outcome
        return outcome

    def submit_nowait(self, submission: Submission, callback: Callback) -> None:
        """As `submit`, but for an event loop: in each of its tasks Django would make a connection of its own.

        The callback runs on the thread that commits. Raises RuntimeError if that thread cannot be started.
        """
        (self._plain if submission.plain else self._keyed).enqueue(submission, callback)


class CommitThread:
    """A thread that takes all submissions that wait, stores them in one transaction, and calls their callers."""

    def __init__(self, name: str, begin: BeginTransaction, store: StoreGroup) -> None:
        self._name, self._begin, self._store = name, begin, store
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[Waiting] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def enqueue(self, submission: Submission, callback: Callback) -> None:
        """Queue a submission; `callback` runs on this thread after the commit."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
        self._waiting.put((submission, callback))

    def _run(self) -> None:
        while True:
            group = [self._waiting.get()]
            if known := self._commit(group, self._begin, self._store):
                self._commit(known, writing, store_group)

    def _commit(self, group: list[Waiting], begin: BeginTransaction, store: StoreGroup) -> list[Waiting]:
        """Store this group, and other submissions that wait, in one transaction.

        Returns those that have to be stored by a transaction of their own, since their idempotency keys are known.
        """
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
            for index, outcome in stored.outcomes.items():
                _call_back(group[index][1], outcome)
            return [waiting for index, waiting in enumerate(group) if index not in stored.outcomes]
        return []

    def _take_more(self, group: list[Waiting], max_tasks: float = float("inf")) -> None:
        """Add the oldest submissions that wait, until there are `max_tasks` tasks."""
        size = sum(len(submission.tasks) for submission, _ in group)
        try:
            while size < max_tasks:
                group.append(self._waiting.get_nowait())
                size += len(group[-1][0].tasks)
        except Empty:
            pass


def _store_separately(group: Sequence[Waiting]) -> None:
    """Store each in a transaction of its own, so that one caller's invalid data fails only that caller."""
    for submission, callback in group:
        try:
            outcome: Submitted | Exception = submit_now(submission)
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
    new = [task for submission in submissions for task in submission.tasks]
    ids = iter(insert(new))
    outcomes = {index: Submitted([next(ids) for _ in submission.tasks]) for index, submission in enumerate(submissions)}
    return Stored(outcomes, new)


def insert(new: Sequence[NewTask]) -> list[UUID]:
    """Insert the rows only: no commit, no notification. On PostgreSQL one statement, so no transaction is needed."""
    if not new:
        return []
    ids = [uuids.uuid7() for _ in new]
    store().insert(new, ids)
    return ids


def notify_for(new: Sequence[NewTask]) -> None:
    """After the commit of tasks: let the metrics show them, and notify the nodes.

    Never raises: the tasks are stored, so the submit must not seem to have failed.
    """
    freshness.changed()
    try:
        if ARMED:
            fail_point("after_commit_before_notification")
        notify_types((task.task_type, task.priority) for task in new)
    except Exception:
        log.exception("no notification was sent for stored tasks; the nodes find them by polling")


#: The submissions of this process's requests.
group_commit = GroupCommit()
