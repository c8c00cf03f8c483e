"""Retries of a node's thread while the database is unavailable: growing pauses, and one log line for each outage."""

from __future__ import annotations

import time

import structlog
from django.db import Error, connection

from tasks_app.db.write_health import first_line
from tasks_app.runner.backoff import Backoff

log = structlog.get_logger(__name__)

MIN_PAUSE_SECONDS = 0.05


class Retrying:
    """The failures of one thread's operation since it last succeeded."""

    def __init__(self, operation: str, max_pause: float = 2.0) -> None:
        """`operation`: a verb phrase for the log, such as "write results"."""
        self._operation, self._backoff = operation, Backoff(MIN_PAUSE_SECONDS, max_pause)
        self._failing_since = 0.0
        #: Why the last attempt failed, in one line; "" if it did not.
        self.reason = ""

    def failed(self, error: Exception) -> float:
        """Note a failure and close the thread's connection. Returns the seconds to wait before the next attempt."""
        self.reason = first_line(error)
        if not self.failing:
            self._failing_since = time.monotonic()
            log.warning(f"cannot {self._operation}: {error}; trying again until the database answers")
        try:
            connection.close()
        except Error:
            connection.connection = None
        return self._backoff.failed()

    def succeeded(self) -> None:
        """Note a success."""
        if self.failing:
            log.info(f"can {self._operation} again", after_seconds=round(time.monotonic() - self._failing_since, 1))
            self._backoff.succeeded()
            self.reason = ""

    @property
    def failing(self) -> bool:
        """True if the last attempt failed."""
        return self._backoff.failures > 0
