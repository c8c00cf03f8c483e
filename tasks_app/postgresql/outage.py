"""What this process knows of a server that does not answer, so that not every thread has to find it out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg.errors import ConnectionTimeout

from tasks_app.postgresql.bounded import NoAnswer

#: Seconds between two tries to connect, over all threads.
PAUSE = 1.0


class Outage:
    """Begins when a new connection is not greeted in time, ends with the first answer: a refusal is one too.

    Meanwhile one thread at a time tries, and all others fail at once. A single statement that was not answered begins
    none: it may have been that one connection alone, and whoever connects anew finds out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._next_at = self._answered_at = 0.0
        self._trying = False

    @property
    def known(self) -> bool:
        """Whether the server is known not to answer."""
        return self._since is not None

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Around every try to connect. Raises NoAnswer at once when it is not this thread's turn to try."""
        begun = self._clock()
        with self._lock:
            if self._since is not None and (self._trying or begun < self._next_at):
                raise NoAnswer(f"the server has not answered for {begun - self._since:.0f} s; not asked again yet")
            mine = self._trying = self._since is not None
        answered = True
        try:
            yield
        except ConnectionTimeout as error:
            answered = False
            raise NoAnswer(f"the server has not greeted for {self._clock() - begun:.0f} s") from error
        finally:
            with self._lock:
                if answered:
                    self._since, self._answered_at = None, self._clock()
                elif begun >= self._answered_at:  # else another was answered meanwhile: it is over
                    self._since = begun if self._since is None else self._since
                    self._next_at = self._clock() + PAUSE
                if mine:
                    self._trying = False


#: Of this process: it has one database.
outage = Outage()
