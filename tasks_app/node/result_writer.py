"""The result writer: saves attempt results in batches, durably.

It has threads and connections of its own, so that a claim does not wait for a commit of results: one for small results,
one for large ones, for which small ones do not wait, and one for those that the database refuses. On a database with
one writer at a time, where one commit waits for the other anyway, the dispatcher's thread writes them between its
claims.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

import structlog
from django.db import connection

from tasks_app.node.attempts import ResultSaver
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.refused_results import RefusedResults
from tasks_app.node.threads import Retrying
from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.current import BatchSize, bare_writing, store
from tasks_app.queue.store import STATEMENT_ERRORS, DatabaseRefusal
from tasks_app.runner.reactor import Reactor

log = structlog.get_logger(__name__)

#: A larger result takes the database longer than a commit does, and is written apart from the small ones.
MAX_SMALL_BYTES = 64 * 1024
#: If more results wait, or if they have more bytes, nothing is claimed. With more bytes of large results no task of
#: their types is. That is some three of the largest results; those of the tasks that run already come on top.
MAX_BACKLOG, MAX_BACKLOG_BYTES = 1000, 32 * 1024 * 1024
#: Results written in one statement.
MAX_BATCH_SIZE = 200
#: Their bytes, unless a single one has more. PostgreSQL parses and compresses some 30 MB a second, so a machine that is
#: 50 times slower still writes a batch within the 10 s that a statement may take. A node has a few copies of a batch.
MAX_BATCH_BYTES = 4 * 1024 * 1024
#: A write that has taken longer before it failed is tried again with half of the results: it may take as long to send
#: them, over a slow network.
LATE_SECONDS = 4.0
#: How long the connection of a thread that is seldom needed stays open without a result.
IDLE_SECONDS = 10.0


class WaitingResults(NamedTuple):
    """The results that are not written yet: the small ones, and the bytes and the types of the large ones.

    `urgent`: they must be written before the next claim. A task that goes back to pending may be the next in order; and
    if results cannot be written, each claim would add to them.
    """

    number: int
    types: Set[str]
    urgent: bool
    bytes: int = 0
    large_bytes: int = 0
    large_types: Set[str] = frozenset()


NO_RESULTS = WaitingResults(0, frozenset(), False)


class ResultWriter:
    """Keeps each result until the database has saved it, or has dropped it because the attempt is no longer current."""

    def __init__(
        self,
        node: str,
        in_flight: InFlightTasks,
        mark_ready: Callable[[str], None],
        reactor: Reactor,
        gave_back: Callable[[Sequence[str]], None] = lambda types: None,
    ) -> None:
        """`mark_ready` and `gave_back`: see `ResultSaver`. `reactor`: knows when the dispatcher reads results, and lets
        it go on with its round."""
        self._reactor = reactor
        #: A second writer would wait for the dispatcher: it writes results itself, until the node ends.
        self.by_dispatcher = store().single_writer
        saver = ResultSaver(node, in_flight, mark_ready, gave_back)
        self._alone = RefusedResults(saver, reactor.interrupt)
        self._small = ResultLane(saver, self._alone.add)
        self._large = ResultLane(saver, self._alone.add, reactor.interrupt, large=True)

    def threads(self) -> Mapping[str, Callable[[], None]]:
        """What its threads run, by their names. Each ends after `stop`."""
        return {
            "result-writer": self._small.run,
            "large-results": self._large.run,
            "results-alone": self._alone.run,
        }

    def put(self, result: AttemptResult) -> None:
        """Queue a result, and let it be written. Never blocks."""
        large = result.result_size is not None and result.result_size > MAX_SMALL_BYTES
        lane = self._large if large else self._small
        lane.queue.put(result)
        if lane.has_thread and (large or not self._reactor.in_turn()):
            lane.wake()
        else:
            self._reactor.interrupt()  # it reads all that is there, then writes or wakes the thread

    def wake(self) -> None:
        """Let the thread write the small results that wait. Never blocks."""
        self._small.wake()

    def waiting(self) -> WaitingResults:
        """The results that wait."""
        small, large, alone = self._small.queue, self._large.queue, self._alone
        if not (small.unwritten or large.unwritten or alone.types):
            return NO_RESULTS
        return WaitingResults(
            len(small), small.types, small.urgent, small.bytes, large.bytes + alone.bytes, large.types | alone.types
        )

    def problem(self) -> str | None:
        """Why results are late, in one sentence; None if they are not."""
        small, large = self._small.queue, self._large.queue
        for reason in (self._small.retrying.reason, self._large.retrying.reason, self._alone.retrying.reason):
            if reason:
                number = small.unwritten + large.unwritten + len(self._alone)
                wait = "1 waits" if number == 1 else f"{number} wait"
                return f"results cannot be written to the database ({reason}); {wait}"
        if (refused := self._alone.problem()) is not None:
            return refused
        if len(small) > MAX_BACKLOG or small.bytes > MAX_BACKLOG_BYTES:
            return f"{len(small)} results wait to be written to the database; nothing is claimed meanwhile"
        if large.bytes > MAX_BACKLOG_BYTES:
            types = ", ".join(f"'{name}'" for name in sorted(large.types))
            return (
                f"{large.unwritten} large results, {large.bytes >> 20} MiB, wait to be written to the database; "
                f"meanwhile no task of {types or 'their type'} is claimed"
            )
        return None

    def drain(self) -> None:
        """The node ends: what the database refuses is tried once more, then the task goes back without a retry."""
        self._alone.drain()

    def discard_rest(self) -> None:
        """The node's end waits no longer for large results: from now on their tasks go back without a retry."""
        self._large.discard_rest()
        self._alone.discard_rest()

    def stop(self) -> None:
        """End the threads once their queues are written, or a write has failed once more."""
        self._small.stop()
        self._large.stop()
        self._alone.stop()

    def write(self) -> None:
        """Write what waits, in the calling thread. What cannot be written waits for the next call."""
        for lane in (self._small, self._large):
            if len(lane.queue):
                lane.write()

    def idle(self) -> bool:
        """True if no result waits for the dispatcher, which writes it or wakes the thread that does."""
        return not (len(self._small.queue) or (len(self._large.queue) and not self._large.has_thread))


class ResultLane:
    """Writes the results of one queue, in a thread of its own or in the dispatcher's.

    It halves a batch that the database refuses or takes too long for, and passes on a single result that it refuses.
    """

    def __init__(
        self,
        saver: ResultSaver,
        try_alone: Callable[[AttemptResult], None],
        written: Callable[[], None] = lambda: None,
        large: bool = False,
    ) -> None:
        """`try_alone` takes a result that fails although the database works. `written` is called after each batch.

        `large`: it has few and large results.
        """
        self.queue, self.retrying = ResultQueue(), Retrying("write results")
        self._saver, self._try_alone, self._after, self._large = saver, try_alone, written, large
        self._wake_ups: SimpleQueue[None] = SimpleQueue()
        #: Written by the thread once, when it starts.
        self.has_thread = False
        #: Written by `stop`, and by the thread that could not write what was left then.
        self._stopping = self._gave_up = False
        #: Written by `discard_rest`.
        self._discarding = False

    def wake(self) -> None:
        """Let the thread write what waits. Never blocks."""
        self._wake_ups.put(None)

    def stop(self) -> None:
        """End the thread once the queue is written, or its write has failed once more."""
        self._stopping = True
        self.wake()

    def discard_rest(self) -> None:
        """From now on, give the tasks back without their results: the node's end waits no longer for these."""
        self._discarding = True

    def run(self) -> None:
        """The thread: until `stop`."""
        # Before the queue is read: a result that was put before has interrupted only the dispatcher.
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
                kept = self._saver.write(batch)
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
            store().configure_session()
            batch, began = self.queue.take(), time.monotonic()
            left = len(self.queue) > 0
            try:
                if self._discarding:
                    self._saver.discard(batch, "its node ended before the database took the result")
                    self.queue.written(batch)
                else:
                    self._written(batch, self._saver.write(batch))
            except STATEMENT_ERRORS as error:
                self._resolve(batch, error, began)
                left = True
            if self.retrying.failing:
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
        self._saver.report(batch, kept)
        self._after()

    def _resolve(self, batch: list[AttemptResult], error: Exception, began: float) -> None:
        """Do what follows a write that failed. Raises if the database is unavailable; the batch then waits again."""
        refusal = store().refusal(error)
        late = store().is_server and time.monotonic() > began + LATE_SECONDS
        try:
            if late and refusal is None:
                connection.close()  # it is lost
            if refusal is DatabaseRefusal.COST or late:
                self._saver.prolong(batch)
            if len(batch) > 1 and (refusal is not None or late):
                self.queue.refused(batch)
                return
            if refusal is DatabaseRefusal.VALUE:
                self._saver.end_as_bad_reply(batch[0], error)
            elif refusal is DatabaseRefusal.COST or self._fails_alone(batch):
                self._saver.try_without_result(batch[0])
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


class ResultQueue:
    """Results in the order in which they came, and which of them are written in one statement.

    Any thread may call any method; one at a time writes what it takes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # What follows is written under the lock.
        #: Each with the bytes that a settle writes for it.
        self._waiting: deque[tuple[AttemptResult, int]] = deque()
        self._size = BatchSize(MAX_BATCH_SIZE)
        #: The types of what waits.
        self.types: Set[str] = frozenset()
        self._has_immediate_retry = self._has_failed = False
        #: What waits or is being written: how many, and their bytes.
        self.unwritten = self.bytes = 0
        #: The bytes of the last batch.
        self._taken = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def urgent(self) -> bool:
        """Whether one of them makes its task ready at once, or the last write has failed."""
        return self._has_immediate_retry or self._has_failed

    def put(self, result: AttemptResult) -> None:
        """Add a result. Never blocks."""
        size, name = result.bytes_to_write, result.task.task_type
        at_once = result.makes_ready
        with self._lock:
            self._waiting.append((result, size))
            self.unwritten += 1
            self.bytes += size
            if name not in self.types:
                self.types = {*self.types, name}
            self._has_immediate_retry |= at_once

    def take(self) -> list[AttemptResult]:
        """The next batch, which is empty if none waits. To be followed by `written`, `refused` or `put_back`."""
        batch: list[AttemptResult] = []
        with self._lock:
            waiting, most, taken = self._waiting, self._size.rows, 0
            while waiting and len(batch) < most:
                result, size = waiting[0]
                if batch and taken + size > MAX_BATCH_BYTES:
                    break
                taken += size
                batch.append(result)
                waiting.popleft()
            self._taken = taken
            self._describe()
        return batch

    def written(self, batch: Sequence[AttemptResult]) -> None:
        """The batch is written, or somebody else cares for it."""
        with self._lock:
            self.unwritten -= len(batch)
            self.bytes -= self._taken
            self._size.taken(len(batch))
            self._has_failed = False

    def refused(self, batch: Sequence[AttemptResult]) -> None:
        """The database refuses the batch: the next one is half of it."""
        with self._lock:
            self._size.refused(len(batch))
        self.put_back(batch)

    def put_back(self, batch: Sequence[AttemptResult]) -> None:
        """The batch could not be written. A single result goes to the end, so that the others pass it."""
        sized = [(result, result.bytes_to_write) for result in batch]
        with self._lock:
            if len(sized) == 1:
                self._waiting.append(sized[0])
            else:
                self._waiting.extendleft(reversed(sized))
            self._has_failed = True
            self._describe()

    def _describe(self) -> None:
        self.types = {result.task.task_type for result, _ in self._waiting}
        self._has_immediate_retry = any(result.makes_ready for result, _ in self._waiting)
