"""A snapshot that another application holds on PostgreSQL, as a backup or a report does."""

from __future__ import annotations

import time

import psycopg

from tests.chaos.watched_session import WatchedSession

APPLICATION_NAME = "report"
CHECK_SECONDS = 0.2


class HeldSnapshot(WatchedSession):
    """Holds a snapshot until `close`, and takes a new one after each fault that has ended its session.

    `taken`: how many; `held`: the seconds in which one was held for certain; `share`: the same as a part of the time.
    """

    def __init__(self, url: str) -> None:
        self.taken, self.held = 0, 0.0
        self._began = time.monotonic()
        self._ended: float | None = None
        super().__init__(url, APPLICATION_NAME)

    def _use(self, session: psycopg.Connection) -> None:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        session.execute("SELECT count(*) FROM taskdaemon_task")
        self.taken += 1
        held_until = time.monotonic()
        while not self._over.wait(CHECK_SECONDS):
            session.execute("SELECT 1")
            self.held += (now := time.monotonic()) - held_until
            held_until = now

    @property
    def share(self) -> float:
        """From 0 to 1."""
        ended = time.monotonic() if self._ended is None else self._ended
        return self.held / (ended - self._began)

    def close(self) -> None:
        """End the session."""
        if self._ended is None:
            self._ended = time.monotonic()
        super().close()
