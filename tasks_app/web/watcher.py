"""A thread that finds out which of the tasks that requests wait for have ended, by one statement for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tasks_app.logs.log_once import LogOnce
from tasks_app.store.current import store

log = structlog.get_logger(__name__)

#: Seconds between two statements: so many times as long as a statement takes, but within these limits. The upper one is
#: how much later an answer may be because statements had to wait, such as for a lock.
MIN_PAUSE_SECONDS, PAUSE_RATIO, MAX_PAUSE_SECONDS = 0.025, 30.0, 1.0
#: After a statement that failed.
OUTAGE_PAUSE_SECONDS = 1.0
#: Between two calls of `each_second`.
EACH_SECONDS = 1.0
#: Before it looks whether a task is waited for, while only something else is.
NO_TASK_PAUSE_SECONDS = 0.1
#: For a statement.
TIMEOUT_SECONDS = 5.0


class Watcher:
    """Works only while something is waited for. All that it is given is called on the watcher's thread.

    `watched` returns the tasks that are waited for, None if nothing is; `ended` gets those that are final or gone.
    `each_second` is called about once a second meanwhile, for what else has to be looked at; it may query.
    """

    def __init__(
        self,
        watched: Callable[[], Sequence[UUID] | None],
        ended: Callable[[list[UUID]], None],
        each_second: Callable[[], None] = lambda: None,
    ) -> None:
        self._watched, self._ended, self._each_second = watched, ended, each_second
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._session = store().session()
        self._log_once = LogOnce()
        self._took = 0.0
        self._second_at = 0.0

    def wake(self) -> None:
        """Something is waited for. Call on one thread only."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            while (tasks := self._watched()) is not None:
                time.sleep(self._ask(tasks))

    def _ask(self, tasks: Sequence[UUID]) -> float:
        """Report what has ended. Returns the seconds until the next statement."""
        begun = time.monotonic()
        try:
            with store().limited(TIMEOUT_SECONDS):
                self._session.configure()
                if begun >= self._second_at:
                    self._second_at = begun + EACH_SECONDS
                    self._each_second()
                if not tasks:
                    return NO_TASK_PAUSE_SECONDS
                begun = time.monotonic()
                ended = store().final_or_gone(tasks)
        except (DatabaseError, InterfaceError) as error:
            return self._after_failure(error)
        except Exception as error:  # a bug: no later wait would end early if it ended this thread
            return self._after_failure(error, exc_info=True)
        if ended:
            self._ended(ended)
        # The shorter of the last two: one that was slow once delays nothing.
        before, self._took = self._took, time.monotonic() - begun
        return min(max(MIN_PAUSE_SECONDS, PAUSE_RATIO * min(before, self._took)), MAX_PAUSE_SECONDS)

    def _after_failure(self, error: Exception, exc_info: bool = False) -> float:
        """Log it. Returns the seconds until the next statement."""
        if self._log_once.is_due(str(error)):
            log.warning("it cannot be read which tasks have ended", error=str(error), exc_info=exc_info)
        connection.close()
        return OUTAGE_PAUSE_SECONDS
