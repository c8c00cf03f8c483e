"""Whether the queue has room (DAEMON_MAX_QUEUE): asked before every POST, so it costs next to nothing."""

from __future__ import annotations

import threading
import time

from tasks_app.metrics.figures import figures

#: Seconds between two looks at the database, near the limit and far from it.
NEAR, FAR = 1.0, 5.0


class Backlog:
    """An estimate from above: the pending tasks at the last look, what this process has accepted since, and what it has
    let in and not stored yet."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._size = 0
        self._accepted = self._coming = 0
        self._counting = threading.Lock()
        self._looked_at = self._look_at = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for a look at the database that nobody makes yet."""
        return time.monotonic() >= self._look_at and not self._looking.locked()

    def full(self, limit: int, count: int = 1, look: bool = True) -> bool:
        """Whether `count` more would be over `limit`. At the limit it looks once a second. Raises DatabaseError.

        `look` false: no database is asked, whatever the time.
        """
        # One looks, the others go by the last look.
        if look and time.monotonic() >= self._look_at and self._looking.acquire(blocking=False):
            try:
                self._accepted = 0
                self._size = figures().queue_size
                self._looked_at = time.monotonic()
                self._look_at = self._looked_at + FAR
            finally:
                self._looking.release()
        estimate = self._size + self._accepted + self._coming
        if estimate + count > limit // 2:
            self._look_at = min(self._look_at, self._looked_at + NEAR)
        return estimate + count > limit

    def accepted(self, count: int = 1) -> None:
        """So many more wait. Unlocked: a count that is lost in a race costs as many tasks over the limit."""
        self._accepted += count

    def coming(self, count: int) -> None:
        """So many more are on their way to the database; below 0: so many less, stored or refused. Locked: what is lost
        here is lost for good."""
        with self._counting:
            self._coming += count


backlog = Backlog()
