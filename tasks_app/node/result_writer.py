"""The result writer: saves attempt results in batches, durably.

It has a thread and a connection of its own, so that a claim does not wait for a commit of results. On a database with
one writer at a time, where one commit waits for the other anyway, the dispatcher's thread writes them between its
claims.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol

import structlog
from django.db import DatabaseError, connection

from tasks_app.lifecycle import AttemptResult, settle
from tasks_app.lifecycle.retry_decision import decide_result
from tasks_app.models import OutcomeKind
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.plan import MAX_BACKLOG, NO_RESULTS, WaitingResults
from tasks_app.node.retrying import Retrying
from tasks_app.process.fail_points import fail_point
from tasks_app.store.current import store
from tasks_app.store.refusal import UNAVAILABLE_ERRORS
from tasks_app.store.transactions import bare_writing

log = structlog.get_logger(__name__)

#: Results written in one statement.
MAX_BATCH_SIZE = 200


class DispatcherTurns(Protocol):
    """When the dispatcher reads results; the reactor knows."""

    def in_turn(self) -> bool:
        """True if called in the dispatcher's thread while it reads."""

    def interrupt(self) -> None:
        """Let the dispatcher go on with its round."""


class ResultWriter:
    """Keeps each result until the database has saved it, or has dropped it because the attempt is no longer current."""

    def __init__(
        self, node: str, in_flight: InFlightTasks, mark_ready: Callable[[str], None], dispatcher: DispatcherTurns
    ) -> None:
        """`mark_ready`: a task of this type has gone back to pending and may be claimed at once."""
        self._node, self._in_flight, self._mark_ready, self._dispatcher = node, in_flight, mark_ready, dispatcher
        #: Any thread appends. The thread that writes takes; at the node's end both of them may be at it.
        self._queue: deque[AttemptResult] = deque()
        # The types in the queue, and whether a result in it makes its task ready at once (see `_note`). Written with
        # each result, and by the thread that takes a batch; may briefly miss a result that is put meanwhile.
        self._types: set[str] = set()
        self._has_immediate_retry = False
        self._wake_ups: SimpleQueue[None] = SimpleQueue()
        #: A batch whose write failed. Written by the thread that writes.
        self._unwritten: list[AttemptResult] = []
        #: How many results the thread tries to write again. Written by the thread.
        self._trying = 0
        #: Written by the thread once, when it starts.
        self._has_thread = False
        #: Written by `stop`.
        self._stopping = False
        self._retrying = Retrying("write results")
        self._session = store().session()

    def put(self, result: AttemptResult) -> None:
        """Queue a result, and let it be written. Never blocks."""
        self._queue.append(result)  # before the notes, because `_next_batch` clears them before it takes results
        self._note(result)
        if self._has_thread and not self._dispatcher.in_turn():
            self.wake()
        else:
            self._dispatcher.interrupt()  # it reads all that is there, then writes or wakes the thread

    def wake(self) -> None:
        """Let the thread write what waits. Never blocks."""
        self._wake_ups.put(None)

    def waiting(self) -> WaitingResults:
        """The results that wait."""
        number = len(self._queue) + len(self._unwritten)
        if not number:
            return NO_RESULTS
        return WaitingResults(number, self._types, self._has_immediate_retry or bool(self._unwritten))

    def problem(self) -> str | None:
        """Why results are late, in one sentence; None if they are not."""
        waiting = len(self._queue)
        if self._retrying.failing:
            wait = "1 waits" if waiting + self._trying == 1 else f"{waiting + self._trying} wait"
            return f"results cannot be written to the database ({self._retrying.reason}); {wait}"
        if waiting > MAX_BACKLOG:
            return f"{waiting} results wait to be written to the database; nothing is claimed meanwhile"
        return None

    def stop(self) -> None:
        """End the thread once the queue is written, or its write has failed once more."""
        self._stopping = True
        self.wake()

    def write(self) -> None:
        """Write what waits, in the calling thread. What cannot be written waits for the next call."""
        batch: list[AttemptResult] = []
        try:
            with bare_writing():
                # With the lock held: results that arrive during the wait for the lock are included.
                batch, self._unwritten = self._unwritten or self._next_batch(), []
                fail_point("before_settle")
                kept = settle(self._node, batch)
        except UNAVAILABLE_ERRORS:
            self._unwritten = self._unwritten or batch
            raise
        except (DatabaseError, ValueError):
            if not batch:  # the lock or the connection failed; no result was read
                raise
            self._unwritten = batch  # a result that is lost here would have its lease renewed without end
            self._write_batch(batch)  # finds the result that is refused
            self._unwritten = []
            return
        self._on_written(batch, kept)

    def idle(self) -> bool:
        """True if no result waits."""
        return not (self._queue or self._unwritten)

    def run(self) -> None:
        """The thread: until `stop`."""
        retrying, wait = self._retrying, False
        # Before the queue is read: a result that was put earlier has only interrupted the dispatcher.
        self._has_thread = True
        try:
            while True:
                if wait and not self._stopping:
                    self._wake_ups.get()
                batch, self._unwritten = self._unwritten or self._next_batch(), []
                wait = len(batch) < MAX_BATCH_SIZE
                while batch:
                    try:
                        self._write_batch(batch)
                        retrying.succeeded()
                        break
                    except UNAVAILABLE_ERRORS as error:
                        if self._stopping:
                            log.error("results not written: stopped while the database is away", count=len(batch))
                            return
                        self._trying = len(batch)
                        time.sleep(retrying.failed(error))
                if self._stopping and not self._queue:
                    return
        finally:
            connection.close()

    def _next_batch(self) -> list[AttemptResult]:
        self._types.clear()
        self._has_immediate_retry = False
        batch: list[AttemptResult] = []
        with suppress(IndexError):  # during a drain another thread may take from the queue too
            while len(batch) < MAX_BATCH_SIZE:
                batch.append(self._queue.popleft())
        for result in list(self._queue):
            self._note(result)
        return batch

    def _note(self, result: AttemptResult) -> None:
        self._types.add(result.task.task_type)
        if _is_immediate_retry(result):
            self._has_immediate_retry = True

    def _write_batch(self, batch: list[AttemptResult]) -> None:
        try:
            self._session.configure()
            fail_point("before_settle")
            kept = settle(self._node, batch)
        except UNAVAILABLE_ERRORS:
            raise
        except (DatabaseError, ValueError) as error:
            # The database refuses one of the results: write each by itself to find it.
            if len(batch) > 1:
                for result in batch:
                    self._write_batch([result])
                return
            [result] = batch
            log.error(
                "the database refuses a result",
                task_id=result.task.id, handler=result.task.task_type, attempt=result.task.attempt,
                error=str(error),
            )  # fmt: skip
            refused = AttemptResult(result.task, OutcomeKind.BAD_REPLY, error="the database refuses the result")
            kept = settle(self._node, [refused])
        self._on_written(batch, kept)

    def _on_written(self, batch: list[AttemptResult], kept: set[tuple[str, int]]) -> None:
        if not batch:
            return
        fail_point("after_settle")
        self._in_flight.settled(*[result.task for result in batch])
        for result in batch:
            if _is_immediate_retry(result):
                self._mark_ready(result.task.task_type)
        if len(kept) == len(batch):
            return
        for result in batch:
            if (result.task.id, result.task.attempt) not in kept:
                log.info(
                    "result dropped: the attempt was taken away",
                    task_id=result.task.id, handler=result.task.task_type, attempt=result.task.attempt,
                )  # fmt: skip


def _is_immediate_retry(result: AttemptResult) -> bool:
    return result.kind is not OutcomeKind.SUCCESS and not result.taken_away and decide_result(result).at_once
