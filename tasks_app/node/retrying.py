"""What a node's thread does while the database cannot be had: pauses that grow, and one line in the log."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from django.db import DatabaseError, connection

log = structlog.get_logger(__name__)


class Retrying:
    """One thread's memory of the trouble it is in."""

    def __init__(self, what: str, longest: float = 2.0) -> None:
        self._what, self._longest = what, longest
        self._failures = 0
        self._since = 0.0

    def pause(self, error: Exception) -> float:
        """Note a failure; drops the thread's connection. Answers the seconds to wait before the next try."""
        if not self._failures:
            self._since = time.monotonic()
            log.warning(f"cannot {self._what}: {error}; trying again until the database answers")
        self._failures += 1
        try:
            connection.close()
        except DatabaseError:
            connection.connection = None
        return min(0.05 * 2.0 ** min(self._failures - 1, 10), self._longest)

    def over(self) -> None:
        """Note a success."""
        if self._failures:
            log.info(f"can {self._what} again", after_seconds=round(time.monotonic() - self._since, 1))
            self._failures = 0

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def until_done(self, do: Callable[[], object], given_up: Callable[[], bool]) -> None:
        """Try until it is done, or `given_up`."""
        while not given_up():
            try:
                do()
                self.over()
                return
            except DatabaseError as error:
                time.sleep(self.pause(error))
