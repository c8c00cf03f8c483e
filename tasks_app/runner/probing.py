"""Whether containers start: what is wrong while they do not, and how a pool tries again."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from tasks_app.runner.backoff import Backoff

#: The pause after a container that did not start; it doubles with each further one in a row ...
FIRST_PAUSE_SECONDS = 0.5
#: ... up to this.
MAX_PAUSE_SECONDS = 60.0
PROBE_AFTER_FAILURES = 2


class Problem(NamedTuple):
    """Why a slot has no container, in a `sentence` that names the handler.

    `engine`: why its engine cannot be reached, if that is the cause; else None.
    """

    sentence: str
    engine: str | None = None


class Probing:
    """Whether the containers of one handler start on this node, and what the pool does if they do not. Thread-safe.

    A container has not started if it ends by itself before its first answer, unless it is known to have read from its
    line. After PROBE_AFTER_FAILURES such ends in a row the pool probes: of all containers that have not answered, only
    one at a time is started and gets a task, and each only after the pause. Containers that have answered go on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Written under the lock, by the threads that the slots run in.
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        self._failed_at = 0.0
        #: True while the pool probes. Any thread reads it, and `problem`.
        self.active = False
        #: Why the last container did not start; None while they do.
        self.problem: Problem | None = None

    def failed(self, started_at: float, problem: str) -> None:
        """A container that was started at this moment (monotonic clock) has ended and had not started."""
        with self._lock:
            now = time.monotonic()
            # Of several that were started before it began to probe, only the last one in a row counts.
            if not self.active or started_at >= self._failed_at:
                self._failed_at = now
                self._backoff.failed()
            self.active = self._backoff.failures >= PROBE_AFTER_FAILURES
            probes = f"; one container at a time is tried, with pauses of up to {MAX_PAUSE_SECONDS:g} s"
            self.problem = Problem(problem + (probes if self.active else ""))

    def succeeded(self) -> None:
        """A container has started: it has answered its first call, say."""
        if self._backoff.failures:
            with self._lock:
                self._backoff.succeeded()
                self.active, self.problem = False, None

    def is_older(self, started_at: float) -> bool:
        """True if there were failures, all of them before a container was started at this moment."""
        return self._backoff.failures > 0 and started_at >= self._failed_at

    def delay(self) -> float:
        """Seconds until the pause is over; 0 if it is."""
        pause = self._backoff.pause
        return max(self._failed_at + pause - time.monotonic(), 0.0) if pause else 0.0
