"""Complete requests on their way to a thread: who is next, who may not take the last threads, who waits no longer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

#: Seconds that a complete request waits for a thread before it is told to come back.
STALE = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request. `answered` is resolved on the loop; `changes`: it may want to write."""

    scope: Any
    proto: Any
    body: bytes
    answered: asyncio.Future[None]
    changes: bool
    at: float = field(default_factory=time.monotonic)
    _taken: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """Whoever gets True answers it."""
        return self._taken.acquire(blocking=False)

    @property
    def taken(self) -> bool:
        """Whether somebody answers it."""
        return self._taken.locked()


class Line:
    """`put` and `overdue` are the loop's, `get` and `over` the threads'.

    Requests that may write get at most three threads in four: with a database that lets nobody write (SQLite's lock is
    waited for, up to 20 s) reads go on.
    """

    def __init__(self, threads: int) -> None:
        self._most = max(threads - threads // 4, 1)
        self._lock = threading.Lock()
        self._next: SimpleQueue[Request] = SimpleQueue()
        self._held: deque[Request] = deque()  # they may write, and as many as may are on their way
        self._changing = 0
        self._by_age: deque[Request] = deque()

    def put(self, request: Request) -> None:
        """At the end of the line."""
        self._by_age.append(request)
        if request.changes:
            with self._lock:
                if self._changing >= self._most:
                    self._held.append(request)
                    return
                self._changing += 1
        self._next.put(request)

    def get(self) -> Request:
        """The next that nobody has taken; waits for one. To be followed by `over`."""
        while not (request := self._next.get()).take():
            self.over(request)
        return request

    def over(self, request: Request) -> None:
        """It is answered."""
        if request.changes:
            with self._lock:
                if self._held:
                    self._next.put(self._held.popleft())
                else:
                    self._changing -= 1

    def overdue(self) -> Iterator[Request]:
        """Those that have waited for too long, taken: they are to be refused."""
        while self._by_age:
            first = self._by_age[0]
            if not first.taken and time.monotonic() - first.at < STALE:
                return
            self._by_age.popleft()
            if first.take():
                yield first
