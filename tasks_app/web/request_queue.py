"""The queue of complete requests that wait for a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

#: A request that has waited for so long is refused with 503.
MAX_WAIT_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Request:
    """A complete request. `answered` is resolved in the event loop. `may_write`: its method is not a read."""

    scope: Any
    proto: Any
    body: bytes
    answered: asyncio.Future[None]
    may_write: bool
    arrived_at: float = field(default_factory=time.monotonic)
    _taken: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """True for the first caller, which then has to answer the request."""
        return self._taken.acquire(blocking=False)

    @property
    def taken(self) -> bool:
        """True if it was taken."""
        return self._taken.locked()


@dataclass(frozen=True, slots=True)
class Errand:
    """What a thread does between two requests."""

    run: Callable[[], None]


class RequestQueue:
    """The event loop calls `put` and `overdue`, the threads `get` and `finish`.

    Requests that may write get at most three quarters of the threads, so that reads go on while nothing can be written
    (each waits up to 20 s for SQLite's write lock).
    """

    def __init__(self, threads: int) -> None:
        self._max_writing = max(threads - threads // 4, 1)
        self._lock = threading.Lock()
        self._next: SimpleQueue[Request | Errand] = SimpleQueue()
        # Requests that may write and have to wait, because `_max_writing` others are in `_next` or running.
        self._held: deque[Request] = deque()
        self._writing = 0
        self._by_age: deque[Request] = deque()

    def put(self, request: Request) -> None:
        """Append a request."""
        self._by_age.append(request)
        if request.may_write:
            with self._lock:
                if self._writing >= self._max_writing:
                    self._held.append(request)
                    return
                self._writing += 1
        self._next.put(request)

    def put_errand(self, run: Callable[[], None]) -> None:
        """Append something else for a thread to do. It is never overdue."""
        self._next.put(Errand(run))

    def get(self) -> Request | Errand:
        """Take the next request; blocks until there is one. Call `finish` afterwards, but not for an errand."""
        while isinstance(request := self._next.get(), Request) and not request.take():
            self.finish(request)
        return request

    def finish(self, request: Request) -> None:
        """The request is answered."""
        if request.may_write:
            with self._lock:
                if self._held:
                    self._next.put(self._held.popleft())
                else:
                    self._writing -= 1

    def overdue(self) -> Iterator[Request]:
        """Take the requests that have waited for too long. The caller refuses them."""
        while self._by_age:
            first = self._by_age[0]
            if not first.taken and time.monotonic() - first.arrived_at < MAX_WAIT_SECONDS:
                return
            self._by_age.popleft()
            if first.take():
                yield first
