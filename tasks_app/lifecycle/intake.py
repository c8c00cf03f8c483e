"""Group commit: concurrent submits share one transaction and so one disk sync.

A thread takes the write lock, then all submissions that have arrived by then, inserts them by one statement and commits
once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue

from django.db import InterfaceError, OperationalError, connection

from tasks_app.lifecycle.submission import Submission, Submitted
from tasks_app.lifecycle.submit import insert, notify_for, submit_many
from tasks_app.store.new_task import NewTask
from tasks_app.store.transactions import bare_writing

#: A transaction that has so many tasks takes no further submission.
MAX_TRANSACTION_TASKS = 1000

#: The tasks of one call, and their ids once they are committed.
Waiting = tuple[Sequence[NewTask], "Future[Submitted]"]


class Intake:
    """The submissions of this process that are not stored yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[Waiting] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, submission: Submission) -> Submitted:
        """As `submit_many`. Raises what the shared transaction raised.

        Within a transaction of the caller's own, which cannot be shared, it is `submit_many`.
        """
        if connection.in_atomic_block:
            return Submitted(submit_many(submission.new))
        return self.submit_nowait(submission).result()

    def submit_nowait(self, submission: Submission) -> Future[Submitted]:
        """As `submit`, but for an event loop: in each of its tasks Django would make a connection of its own.

        Callbacks run on the intake's thread. Raises RuntimeError if the thread cannot be started.
        """
        submitted: Future[Submitted] = Future()
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="intake", daemon=True)
                thread.start()
                self._thread = thread
        self._waiting.put((submission.new, submitted))
        return submitted

    def _run(self) -> None:
        while True:
            self._store([self._waiting.get()])

    def _store(self, taken: list[Waiting]) -> None:
        """Store these submissions, and others that wait, in one transaction."""
        try:
            connection.close_if_unusable_or_obsolete()  # as Django does at the beginning of a request
            with bare_writing(one_statement=True):
                # Only now: submissions that arrive while this waits for the write lock join the transaction.
                self._take_more(taken, MAX_TRANSACTION_TASKS)
                new = [task for tasks, _ in taken for task in tasks]
                ids = iter(insert(new))
        except (OperationalError, InterfaceError) as error:
            # The database is unavailable. Submissions that arrived meanwhile fail too: each would wait as long again.
            self._take_more(taken)
            for _, submitted in taken:
                submitted.set_exception(type(error)(*error.args))  # one each: each is raised on its own thread
        except Exception as error:
            if len(taken) == 1:
                taken[0][1].set_exception(error)
            else:
                _store_separately(taken)
        else:
            notify_for(new)
            for tasks, submitted in taken:
                submitted.set_result(Submitted([next(ids) for _ in tasks]))

    def _take_more(self, taken: list[Waiting], max_tasks: float = float("inf")) -> None:
        """Add the oldest submissions that wait, until there are `max_tasks` tasks."""
        size = sum(len(tasks) for tasks, _ in taken)
        try:
            while size < max_tasks:
                taken.append(self._waiting.get_nowait())
                size += len(taken[-1][0])
        except Empty:
            pass


def _store_separately(submissions: list[Waiting]) -> None:
    """Store each in a transaction of its own, so that one caller's invalid data fails only that caller."""
    for tasks, submitted in submissions:
        try:
            ids = submit_many(tasks)
        except Exception as error:
            submitted.set_exception(error)
        else:
            submitted.set_result(Submitted(ids))


intake = Intake()
