"""What the heartbeat does beside its duties: no task waits for it, and a failure of it costs no beat."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.db import Error

from tasks_app.logs.log_once import REMINDER_SECONDS, LogOnce
from tasks_app.node.retrying import Retrying
from tasks_app.store import clock
from tasks_app.store.current import store

log = structlog.get_logger(__name__)

#: A database that needs longer for a call must not delay the next beat: it promotes, takes over, and stops what was
#: cancelled.
MAX_CALL_SECONDS = 2.0
#: After an error that is not the database's.
FAULT_PAUSE_SECONDS = 60.0


class SideJob:
    """One of them, for the heartbeat's thread.

    Its failure is no sign that the silence of other nodes means nothing: the database may refuse this statement alone.
    """

    def __init__(self, operation: str, retry_seconds: float, max_call_seconds: float = MAX_CALL_SECONDS) -> None:
        """`operation`: a verb phrase for the log. `retry_seconds`: after a failure of the database."""
        self._operation, self._retry_seconds, self._max_call_seconds = operation, retry_seconds, max_call_seconds
        self._retrying = Retrying(operation)
        self._log_once = LogOnce(REMINDER_SECONDS)
        self._next_at = float("-inf")

    def run(self, do: Callable[[], object]) -> bool:
        """Do it, unless it has failed a short time ago. Every error is logged. True if it was done."""
        if clock.elapsed() < self._next_at:
            return False
        try:
            with store().limited(self._max_call_seconds):
                do()
        except Error as error:
            self._retrying.failed(error)
            self._next_at = clock.elapsed() + self._retry_seconds
        except Exception as error:
            self._next_at = clock.elapsed() + FAULT_PAUSE_SECONDS
            if self._log_once.is_due():
                log.error(f"cannot {self._operation}", exc_info=error)
        else:
            self._retrying.succeeded()
            return True
        return False
