"""`max_queue`: how many tasks of a handler may be open. A POST beyond it is answered with 429.

The open tasks of a type are counted in the database, no more than `max_queue` and one of them, by a request that may
exceed the limit otherwise, or once the last count is old. In between a process counts what it stores itself. So one
process alone exceeds no limit; several do by the tasks that they store at the same time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tasks_app import conf
from tasks_app.queue.current import store
from tasks_app.queue.models import Task

#: A count holds for so long, unless the queue is nearly full: other processes store tasks too.
COUNT_SECONDS = 1.0
#: Nearly full: above this share of the limit.
NEARLY_FULL = 0.8
#: A count is made again after so many times as long as it has taken.
COUNT_RATIO = 10.0


@dataclass
class _Type:
    """What is known of a type: the last count, what this process has stored since that began, and what it may store at
    any moment. `counted_at`: when the count began (monotonic), `seconds`: how long it took."""

    size: int = 0
    stored: int = 0
    reserved: int = 0
    counted_at: float = float("-inf")
    seconds: float = 0.0

    @property
    def most(self) -> int:
        """How many tasks may be open now."""
        return self.size + self.stored + self.reserved

    def due(self, now: float, limit: int, more: int) -> bool:
        """Whether it is to be counted before so many more are stored."""
        age = now - self.counted_at
        if age >= COUNT_SECONDS:
            return True
        return self.most + more > NEARLY_FULL * limit and age >= COUNT_RATIO * self.seconds


class OpenTasks:
    """A `Quota` by `max_queue` of this process's handlers.toml."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._types: dict[str, _Type] = {}

    def limits(self, task_type: str) -> bool:
        return _limit(task_type) is not None

    def reserve(self, types: Mapping[str, int]) -> str | None:
        reserved: dict[str, int] = {}
        try:
            for name, count in types.items():
                if (limit := _limit(name)) is None:
                    continue
                if not self._reserve(name, count, limit):
                    self.end(reserved, False)
                    return _sentence(name, count, limit)
                reserved[name] = count
        except BaseException:
            self.end(reserved, False)
            raise
        return None

    def _reserve(self, name: str, count: int, limit: int) -> bool:
        known = self._types.setdefault(name, _Type())
        if known.due(time.monotonic(), limit, count):
            self._count(name, known, limit)
        with self._lock:
            if known.most + count > limit:
                return False
            known.reserved += count
            return True

    def _count(self, name: str, known: _Type, limit: int) -> None:
        with self._lock:
            before = known.stored
        begun = time.monotonic()
        size = open_tasks_of(name, limit + 1)
        with self._lock:
            if begun >= known.counted_at:
                # What was stored during the count may be in it or not: counted at worst twice.
                known.size, known.stored = size, max(known.stored - before, 0)
                known.counted_at, known.seconds = begun, time.monotonic() - begun

    def end(self, types: Mapping[str, int], stored: bool) -> None:
        with self._lock:
            for name, count in types.items():
                if (known := self._types.get(name)) is not None:
                    known.reserved -= count
                    known.stored += count if stored else 0


def open_tasks_of(name: str, most: int) -> int:
    """How many tasks of a type are open, at most `most`: those that are ready, wait, are held, or run."""
    count = 0
    # The newest first: what is dead in the index is at the front of the queue.
    ready = Task.objects.ready().filter(task_type=name).order_by("-position")
    for rows in (ready, Task.objects.not_ready().filter(task_type=name)):
        if count < most:
            count += rows.values_list("pk")[: most - count].count()
    if count < most:
        count += sum(running == name for _, running, _ in store().running())
    return min(count, most)


def _limit(name: str) -> int | None:
    handler = conf.handlers().get(name)
    return None if handler is None else handler.further.get("max_queue")


def _sentence(name: str, count: int, limit: int) -> str:
    if count > limit:
        return f"of '{name}' at most {limit:,} tasks may be open (max_queue): {count:,} in a request are too many"
    room = "" if count == 1 else f", and {count:,} more are too many"
    return f"the queue of '{name}' is full: at most {limit:,} of its tasks may be open (max_queue){room}; retry later"


#: Of this process.
open_tasks = OpenTasks()
