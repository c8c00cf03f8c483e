"""Writes the results of one queue, in a thread of its own or in the dispatcher's."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

import structlog
from django.db import connection

from tasks_app.node.result_queue import ResultQueue
from tasks_app.node.retrying import Retrying
from tasks_app.node.settling import Settling
from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.current import bare_writing, store
from tasks_app.queue.store import STATEMENT_ERRORS, Refusal

log = structlog.get_logger(__name__)

#: A write that has taken longer before it failed is tried again with half of the results: it may take as long to send
#: them, over a slow network.
LATE_SECONDS = 4.0
#: How long the connection of a thread that is seldom needed stays open without a result.
IDLE_SECONDS = 10.0


class ResultLane:
    """Writes batches, and halves one that the database refuses or takes too long for. A single result that it refuses
    is passed on."""

    def __init__(
        self,
        settling: Settling,
        try_alone: Callable[[AttemptResult], None],
        written: Callable[[], None] = lambda: None,
        large: bool = False,
    ) -> None:
        """`try_alone` takes a result that fails although the database works. `written` is called after each batch.

        `large`: it has few and large results.
        """
        self.queue, self.retrying = ResultQueue(), Retrying("write results")
        self._settling, self._try_alone, self._after, self._large = settling, try_alone, written, large
        self._session = store().session()
        self._wake_ups: SimpleQueue[None] = SimpleQueue()
        #: Written by the thread once, when it starts.
        self.has_thread = False
        #: Written by `stop`, and by the thread that could not write what was left then.
        self._stopping = self._gave_up = False
        #: Written by `release`.
        self._giving_back = False

    def wake(self) -> None:
        """Let the thread write what waits. Never blocks."""
        self._wake_ups.put(None)

    def stop(self) -> None:
        """End the thread once the queue is written, or its write has failed once more."""
        self._stopping = True
        self.wake()

    def release(self) -> None:
        """From now on, give the tasks back without their results: the node's end waits no longer for these."""
        self._giving_back = True

    def run(self) -> None:
        """The thread: until `stop`."""
        # Before the queue is read: a result that was put earlier has woken only the dispatcher.
        self.has_thread = True
        try:
            while not self._stopping or (len(self.queue) and not self._gave_up):
                # What has come during a write waits too: the dispatcher knows for how long.
                if not self._write_next() and not self._stopping:
                    self._wait()
        finally:
            connection.close()

    def write(self) -> None:
        """Write the next batch in the calling thread. Raises one of STATEMENT_ERRORS if the database is unavailable."""
        batch: list[AttemptResult] = []
        began = 0.0
        try:
            with bare_writing():
                # With the lock held: results that arrive during the wait for the lock are included.
                batch, began = self.queue.take(), time.monotonic()
                kept = self._settling.write(batch)
        except STATEMENT_ERRORS as error:
            if not batch:  # the lock or the connection failed; no result was read
                raise
            self._resolve(batch, error, began)
        else:
            self._written(batch, kept)

    def _write_next(self) -> bool:
        """Write the next batch in the lane's thread, if there is one. True: go on with what it has left."""
        if not len(self.queue):
            return False
        try:
            self._session.configure()
            batch, began = self.queue.take(), time.monotonic()
            left = len(self.queue) > 0
            try:
                if self._giving_back:
                    self._settling.release(batch, "its node ended before the database took the result")
                    self.queue.written(batch)
                else:
                    self._written(batch, self._settling.write(batch))
            except STATEMENT_ERRORS as error:
                self._resolve(batch, error, began)
                left = True
            self.retrying.succeeded()
        except STATEMENT_ERRORS as error:
            if self._stopping:
                log.error("results not written: stopped while the database is away", count=self.queue.unwritten)
                self._gave_up = True
                return False
            time.sleep(self.retrying.failed(error))
            return True
        return left

    def _written(self, batch: list[AttemptResult], kept: set[tuple[str, int]]) -> None:
        self.queue.written(batch)
        self._settling.done(batch, kept)
        self._after()

    def _resolve(self, batch: list[AttemptResult], error: Exception, began: float) -> None:
        """Do what follows a write that failed. Raises if the database is unavailable; the batch then waits again."""
        refusal = store().refusal(error)
        late = store().is_server and time.monotonic() > began + LATE_SECONDS
        try:
            if late and refusal is None:
                connection.close()  # it is lost
            if refusal is Refusal.COST or late:
                self._settling.prolong(batch)
            if len(batch) > 1 and (refusal is not None or late):
                self.queue.refused(batch)
                return
            if refusal is Refusal.VALUE:
                self._settling.end_as_bad_reply(batch[0], error)
            elif refusal is Refusal.COST or self._fails_alone(batch):
                self._settling.try_without_result(batch[0])
                self._try_alone(batch[0])
            else:
                raise error
        except BaseException:
            self.queue.put_back(batch)
            raise
        self.queue.written(batch)
        self._after()

    def _fails_alone(self, batch: list[AttemptResult]) -> bool:
        """Whether the loss of the connection may be the result's fault: it is large, and the server can be asked."""
        if len(batch) > 1 or not (self._large and store().is_server):
            return False
        connection.close()
        return True

    def _wait(self) -> None:
        if self._large:
            with suppress(Empty):
                self._wake_ups.get(timeout=IDLE_SECONDS)
                return
            connection.close()
        self._wake_ups.get()
