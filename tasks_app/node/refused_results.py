"""Results that the database refuses although it works: each is tried alone, and its task fails after some refusals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Set
from contextlib import nullcontext
from dataclasses import dataclass

import structlog
from django.db import connection

from tasks_app.db.write_health import first_line
from tasks_app.node.attempts import ResultSaver
from tasks_app.node.threads import Retrying
from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.current import store
from tasks_app.queue.store import STATEMENT_ERRORS, DatabaseRefusal

log = structlog.get_logger(__name__)

#: How long a try may take, and the time until the next one: at most half of the time is spent on one result.
TRY_SECONDS = RETRY_SECONDS = 60.0
#: A result is at fault after so many refusals in a row, over more than so many seconds.
MIN_REFUSALS, MIN_SECONDS = 3, 300.0


@dataclass
class RefusedResult:
    """A result, when it is tried next, and its refusals in a row. Moments are on the monotonic clock."""

    result: AttemptResult
    due: float
    refusals: int = 0
    first_at: float = 0.0
    reason: str = ""

    def add(self, at: float) -> None:
        """It was refused, and the same settle without it has passed just after that."""
        if not self.refusals:
            self.first_at = at
        self.refusals += 1

    def is_at_fault(self, at: float) -> bool:
        """Whether its refusals show that, and not that the database is slow for some minutes."""
        return self.refusals >= MIN_REFUSALS and at - self.first_at > MIN_SECONDS


class RefusedResults:
    """A thread with a connection of its own, which it closes when no result is left. Others pass by meanwhile."""

    def __init__(self, saver: ResultSaver, written: Callable[[], None] = lambda: None) -> None:
        """`written` is called once a result has ended."""
        self._saver, self._after = saver, written
        self.retrying = Retrying("write a result that is tried alone", RETRY_SECONDS)
        self._changed = threading.Condition()
        # What follows is written under its lock.
        self._waiting: list[RefusedResult] = []
        self._draining = self._discarding = self._stopping = False
        #: What the results have in all, and their types.
        self.bytes = 0
        self.types: Set[str] = frozenset()

    def __len__(self) -> int:
        """How many wait, or are being tried."""
        return len(self._waiting)

    def add(self, result: AttemptResult) -> None:
        """Try a result as soon as possible. Never blocks."""
        with self._changed:
            self._waiting.append(RefusedResult(result, time.monotonic()))
            self._describe()

    def drain(self) -> None:
        """The node ends: try each once more, soon, and give the task of one that is refused back without a retry."""
        with self._changed:
            self._draining = True
            for refused in self._waiting:
                refused.due = 0.0
            self._changed.notify_all()

    def discard_rest(self) -> None:
        """From now on, give the tasks back without another try."""
        self._discarding = True
        self.drain()

    def stop(self) -> None:
        """End the thread after the try that it is in."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def problem(self) -> str | None:
        """Which results wait and why, in one sentence; None if there are none."""
        with self._changed:
            if not self._waiting:
                return None
            most = max(self._waiting, key=lambda refused: refused.refusals)
        number, task = len(self._waiting), most.result.task
        count = "a result waits" if number == 1 else f"{number} results wait, each"
        reason = f" ({most.reason})" if most.reason else ""
        return (
            f"{count} because the database refuses it, and the task fails after {MIN_REFUSALS} refusals over more than "
            f"{MIN_SECONDS / 60:.0f} minutes. Task {task.id} of type '{task.task_type}', "
            f"{most.result.bytes_to_write} bytes: {most.refusals} refusals{reason}"
        )

    def run(self) -> None:
        """The thread: until `stop`."""
        try:
            while (refused := self._next()) is not None:
                self._try(refused)
            if self._waiting:
                log.error("results not written: stopped while the database refuses them", count=len(self._waiting))
        finally:
            connection.close()

    def _next(self) -> RefusedResult | None:
        """The one that is due first, once it is due; None: stop."""
        with self._changed:
            while not self._stopping:
                if not self._waiting:
                    connection.close()
                    self._changed.wait()
                    continue
                first = min(self._waiting, key=lambda refused: refused.due)
                if (pause := first.due - time.monotonic()) <= 0:
                    return first
                self._changed.wait(pause)
        return None

    def _try(self, refused: RefusedResult) -> None:
        """Write one result. If it cannot be written now, it is due again later."""
        result = refused.result
        try:
            store().configure_session()
            self._saver.prolong([result])
            ended = True
            try:
                # At the node's end the usual limits: it waits for that as long as for running tasks.
                with nullcontext() if self._draining else store().extended(TRY_SECONDS):
                    if self._discarding:
                        self._saver.discard([result], "its node ended, and the database had refused its result")
                    else:
                        self._saver.save([result])
            except STATEMENT_ERRORS as error:
                ended = self._resolve(refused, error)
            self.retrying.succeeded()
        except STATEMENT_ERRORS as error:
            refused.refusals = 0
            refused.due = time.monotonic() + self.retrying.failed(error)
            return
        if ended:
            with self._changed:
                self._waiting.remove(refused)
                self._describe()
            self._after()

    def _resolve(self, refused: RefusedResult, error: Exception) -> bool:
        """Whether the attempt has ended after a try that failed. Raises if the database is unavailable."""
        result, refusal, now = refused.result, store().refusal(error), time.monotonic()
        if refusal is None:
            raise error
        if refusal is DatabaseRefusal.VALUE:
            self._saver.end_as_bad_reply(result, error)
            return True
        self._saver.try_without_result(result)
        refused.add(now)
        refused.reason, refused.due = first_line(error), now + RETRY_SECONDS
        if refused.is_at_fault(now):
            tried = f"; {refused.refusals} times in {now - refused.first_at:.0f} s, never without the result"
            self._saver.end_as_bad_reply(result, error, tried)
            return True
        if self._draining:
            self._saver.discard([result], f"its node ends, and the database refuses its result: {refused.reason}")
            return True
        log.warning(
            "the database refuses a result; it is tried again", **result.task.in_log,
            bytes=result.bytes_to_write, refusals=refused.refusals, error=refused.reason,
        )  # fmt: skip
        return False

    def _describe(self) -> None:
        """Under the lock, after a change."""
        self.bytes = sum(refused.result.bytes_to_write for refused in self._waiting)
        self.types = {refused.result.task.task_type for refused in self._waiting}
        self._changed.notify_all()
