"""The threads of a node: what they do while the database is unavailable, and what features do in them.

They try again, and log one line for each outage. A side job is work of the heartbeat beside its duties: no task waits
for a side job, and its failure costs no beat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import structlog
from django.db import Error, connection

from tasks_app.db.write_health import first_line
from tasks_app.logs import REMINDER_SECONDS, LogOnce
from tasks_app.queue.current import store
from tasks_app.queue.due_work import DueWork
from tasks_app.runner.backoff import Backoff

log = structlog.get_logger(__name__)

#: Before the first further attempt; it doubles with each failure.
MIN_RETRY_SECONDS = 0.05
#: A database that needs longer for a call must not delay the next beat: it promotes, takes over, and stops what was
#: cancelled.
MAX_CALL_SECONDS = 2.0
#: After an error that is not the database's.
FAULT_PAUSE_SECONDS = 60.0


class Retrying:
    """The failures of one thread's operation since it last succeeded."""

    def __init__(self, operation: str, max_seconds: float = 2.0) -> None:
        """`operation`: a verb phrase for the log, such as "write results". `max_seconds`: between two attempts."""
        self._operation, self._backoff = operation, Backoff(MIN_RETRY_SECONDS, max_seconds)
        #: Whether the last attempt failed.
        self.failing = False
        self._failing_since = 0.0
        #: Why the last attempt failed, in one line; "" if it did not.
        self.reason = ""

    def failed(self, error: Exception) -> float:
        """Note a failure and close the thread's connection. Returns the seconds to wait before the next attempt."""
        self.reason = first_line(error)
        if not self.failing:
            self.failing, self._failing_since = True, time.monotonic()
            log.warning(f"cannot {self._operation}: {store().advice(error)}; trying again until the database answers")
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
            self.failing, self.reason = False, ""


class OutageGuard:
    """Runs a side job, so that no failure of it and no slow call costs a beat. For the heartbeat's thread.

    If the job fails, the node still trusts the silence of other nodes: the database may refuse this statement alone.
    """

    def __init__(self, operation: str, retry_seconds: float, max_call_seconds: float = MAX_CALL_SECONDS) -> None:
        """`operation`: a verb phrase for the log. `retry_seconds`: after a failure of the database."""
        self._operation, self._retry_seconds, self._max_call_seconds = operation, retry_seconds, max_call_seconds
        self._retrying = Retrying(operation)
        self._log_once = LogOnce(REMINDER_SECONDS)
        self._next_at = float("-inf")

    def run(self, do: Callable[[], object]) -> bool:
        """Do it, unless it has failed a short time ago. Every error is logged. True if it was done."""
        if store().elapsed() < self._next_at:
            return False
        try:
            with store().limited(self._max_call_seconds):
                do()
        except Error as error:
            self._retrying.failed(error)
            self._next_at = store().elapsed() + self._retry_seconds
        except Exception as error:
            self._next_at = store().elapsed() + FAULT_PAUSE_SECONDS
            if self._log_once.is_due():
                log.error(f"cannot {self._operation}", exc_info=error)
        else:
            self._retrying.succeeded()
            return True
        return False


# The work of features in a node beside its duties: side jobs of its heartbeat, and threads.


class SideJob(Protocol):
    """A side job of the heartbeat (`Feature.side_jobs`)."""

    def run(self, work: DueWork) -> None:
        """Do it, if it is time. On the heartbeat's thread, after its duties. `work`: what the beat has found due.

        Raises nothing, and no call to the database takes long: `OutageGuard` sees to both.
        """


class NodeThread:
    """A thread of a node (`Feature.node_threads`): a node starts it last, and stops it first."""

    #: Names the thread; no other thread of the node has the name.
    name: str

    def run(self) -> None:
        """The thread, until it is stopped.

        It must catch outages of the database itself; anything it raises ends the node.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Let the thread end soon, and return at once. Called once, first of all when a node ends; raises nothing."""
        raise NotImplementedError

    def on_beat(self, work: DueWork) -> None:
        """Wake the thread if a beat has found work for it. On the heartbeat's thread; asks and raises nothing."""

    def problem(self) -> str | None:
        """What is wrong, in a sentence that /health shows; None: nothing.

        On the heartbeat's thread; asks and raises nothing.
        """
        return None
