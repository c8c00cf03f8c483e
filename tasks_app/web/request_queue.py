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
#: Logins that run at once. To check a password takes a thread some tenths of a second of processor time.
MAX_LOGINS = 2
#: Logins that wait for one of these. Further ones are refused: they would wait for longer than `MAX_WAIT_SECONDS`.
MAX_WAITING_LOGINS = 32


@dataclass(slots=True, eq=False)
class Request:
    """A complete request. `answered` is resolved in the event loop. `may_write`: its method is not a read.

    `login`: it has a password to check.
    """

    scope: Any
    proto: Any
    body: bytes
    answered: asyncio.Future[None]
    may_write: bool
    login: bool = False
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


class TooManyLogins(Exception):
    """So many logins wait already that another one would wait for too long."""


class Limit:
    """Admits at most `most` requests at once; the others wait in the order of their arrival. Not thread-safe."""

    def __init__(self, most: int) -> None:
        self.waiting: deque[Request] = deque()
        self._most, self._admitted = most, 0

    def admit(self, request: Request) -> bool:
        """True if it is admitted; False if it waits until `finished` returns it."""
        if self._admitted >= self._most:
            self.waiting.append(request)
            return False
        self._admitted += 1
        return True

    def finished(self) -> Request | None:
        """One that was admitted is finished. Returns the one that is admitted in its place."""
        if self.waiting:
            return self.waiting.popleft()
        self._admitted -= 1
        return None


class RequestQueue:
    """The event loop calls `put` and `overdue`, the threads `get` and `finish`.

    Requests that may write get at most three quarters of the threads, so that reads go on while nothing can be written
    (each waits up to 20 s for SQLite's write lock). Logins get `MAX_LOGINS` threads, and leave one to others.
    """

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._next: SimpleQueue[Request | Errand] = SimpleQueue()
        # Used under the lock. A login needs the first one before the second.
        self._logins = Limit(max(min(MAX_LOGINS, threads - 1), 1))
        self._writes = Limit(max(threads - threads // 4, 1))
        self._by_age: deque[Request] = deque()

    def put(self, request: Request) -> None:
        """Append a request. Raises TooManyLogins."""
        with self._lock:
            if request.login and len(self._logins.waiting) >= MAX_WAITING_LOGINS:
                raise TooManyLogins
            admitted = (not request.login or self._logins.admit(request)) and self._may_run(request)
        self._by_age.append(request)
        if admitted:
            self._next.put(request)

    def _may_run(self, request: Request) -> bool:
        """False if it waits for others that may write. Under the lock."""
        return not request.may_write or self._writes.admit(request)

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
        if not request.may_write:
            return
        with self._lock:
            following = [self._writes.finished()]
            if request.login and (login := self._logins.finished()) is not None and self._may_run(login):
                following.append(login)
        for each in following:
            if each is not None:
                self._next.put(each)

    def overdue(self) -> Iterator[Request]:
        """Take the requests that have waited for too long. The caller refuses them."""
        while self._by_age:
            first = self._by_age[0]
            if not first.taken and time.monotonic() - first.arrived_at < MAX_WAIT_SECONDS:
                return
            self._by_age.popleft()
            if first.take():
                yield first
