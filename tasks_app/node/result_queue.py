"""Results that wait for the database, and which of them are written in one statement."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from tasks_app.lifecycle import AttemptResult
from tasks_app.lifecycle.retry_decision import decide_result
from tasks_app.models import OutcomeKind
from tasks_app.store.batch_size import BatchSize

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
        self._waiting: deque[AttemptResult] = deque()
        self._size = BatchSize(MAX_BATCH_SIZE)
        #: The types of what waits.
        self.types: AbstractSet[str] = frozenset()
        self._has_immediate_retry = self._has_failed = False
        #: What waits or is being written: how many, and their bytes.
        self.unwritten = self.bytes = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def urgent(self) -> bool:
        """Whether one of them makes its task ready at once, or the last write has failed."""
        return self._has_immediate_retry or self._has_failed

    def put(self, result: AttemptResult) -> None:
        """Add a result. Never blocks."""
        size, at_once = result.bytes_to_write, is_immediate_retry(result)
        with self._lock:
            self._waiting.append(result)
            self.unwritten += 1
            self.bytes += size
            if result.task.task_type not in self.types:
                self.types = {*self.types, result.task.task_type}
            self._has_immediate_retry |= at_once

    def take(self) -> list[AttemptResult]:
        """The next batch, which is empty if none waits. To be followed by `written`, `refused` or `put_back`."""
        batch: list[AttemptResult] = []
        with self._lock:
            room = MAX_BATCH_BYTES
            while self._waiting and len(batch) < self._size.rows:
                room -= self._waiting[0].bytes_to_write
                if batch and room < 0:
                    break
                batch.append(self._waiting.popleft())
            self._describe()
        return batch

    def written(self, batch: Sequence[AttemptResult]) -> None:
        """The batch is written, or somebody else cares for it."""
        size = sum(result.bytes_to_write for result in batch)
        with self._lock:
            self.unwritten -= len(batch)
            self.bytes -= size
            self._size.taken(len(batch))
            self._has_failed = False

    def refused(self, batch: Sequence[AttemptResult]) -> None:
        """The database refuses the batch: the next one is half of it."""
        with self._lock:
            self._size.refused(len(batch))
        self.put_back(batch)

    def put_back(self, batch: Sequence[AttemptResult]) -> None:
        """The batch could not be written. A single result goes to the end, so that the others pass it."""
        with self._lock:
            if len(batch) == 1:
                self._waiting.append(batch[0])
            else:
                self._waiting.extendleft(reversed(batch))
            self._has_failed = True
            self._describe()

    def _describe(self) -> None:
        self.types = {result.task.task_type for result in self._waiting}
        self._has_immediate_retry = any(is_immediate_retry(result) for result in self._waiting)


def is_immediate_retry(result: AttemptResult) -> bool:
    """Whether the result makes its task ready again at once."""
    return result.kind is not OutcomeKind.SUCCESS and not result.taken_away and decide_result(result).at_once
