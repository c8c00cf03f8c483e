"""Group commit: concurrent submits share one transaction and so one disk sync.

A thread takes the write lock, then all submissions that have arrived by then, stores them and commits once. Submissions
that may wait for another transaction, because they have keys, have a thread of their own: plain ones do not wait with
them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue

import structlog
from django.db import InterfaceError, OperationalError, connection

from tasks_app.lifecycle.submission import Submission, Submitted
from tasks_app.lifecycle.submission_group import Stored, store_group, store_submissions
from tasks_app.lifecycle.submit import insert, notify_for, submit_one
from tasks_app.store.current import store
from tasks_app.store.transactions import bare_writing, writing

log = structlog.get_logger(__name__)

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


intake = Intake()
