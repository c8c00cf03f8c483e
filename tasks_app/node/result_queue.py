"""Results that wait for the database, and which of them are written in one statement."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.maintenance import BatchSize
from tasks_app.queue.models import OutcomeKind
from tasks_app.queue.retry_decision import decide_result

#: Results written in one statement.
MAX_BATCH_SIZE = 200
#: Their bytes, unless a single one has more. PostgreSQL parses and compresses some 30 MB a second, so a machine that is
#: 50 times slower still writes a batch within the 10 s that a statement may take. A node has a few copies of a batch.
MAX_BATCH_BYTES = 4 * 1024 * 1024


class ResultQueue:
    """In the order in which they came. Any thread may call any method; one at a time writes what it takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # What follows is written under the lock.
        #: Each with the bytes that a settle writes for it.
        self._waiting: deque[tuple[AttemptResult, int]] = deque()
        self._size = BatchSize(MAX_BATCH_SIZE)
        #: The types of what waits.
        self.types: AbstractSet[str] = frozenset()
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
        at_once = result.kind is not OutcomeKind.SUCCESS and is_immediate_retry(result)
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
        self._has_immediate_retry = any(is_immediate_retry(result) for result, _ in self._waiting)


def is_immediate_retry(result: AttemptResult) -> bool:
    """Whether the result makes its task ready again at once."""
    return result.kind is not OutcomeKind.SUCCESS and not result.taken_away and decide_result(result).at_once
