"""The state of a server that does not answer, shared by the threads so that not each of them waits for a time-out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg.errors import ConnectionTimeout

from tasks_app.db.postgresql.connection import NoAnswer

#: Between two attempts to connect, over all threads.
CONNECT_INTERVAL_SECONDS = 1.0


class Outage:
    """Begins when a new connection times out, and ends with the server's first answer, even a refusal.

    Meanwhile one thread at a time tries to connect, and all others fail at once. A statement that times out begins no
    outage: the fault may be that connection's only, and the next attempt to connect finds out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._next_at = self._answered_at = 0.0
        self._trying = False

    @property
    def known(self) -> bool:
        """Whether there is an outage."""
        return self._since is not None

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Wrap every attempt to connect. Raises NoAnswer at once if it is not this thread's turn."""
        begun = self._clock()
        with self._lock:
            if self._since is not None and (self._trying or begun < self._next_at):
                raise NoAnswer(f"the server has not answered for {begun - self._since:.0f} s; no new attempt yet")
            exclusive = self._trying = self._since is not None
        answered = True
        try:
            yield
        except ConnectionTimeout as error:
            answered = False
            raise NoAnswer(f"the server accepted no connection within {self._clock() - begun:.0f} s") from error
        finally:
            with self._lock:
                if answered:
                    self._since, self._answered_at = None, self._clock()
                elif begun >= self._answered_at:  # otherwise another thread was answered meanwhile
                    self._since = begun if self._since is None else self._since
                    self._next_at = self._clock() + CONNECT_INTERVAL_SECONDS
                if exclusive:
                    self._trying = False


#: For this process, which has one database.
outage = Outage()
