"""Whether a task may come in now: not while the system is being stopped, not faster than DAEMON_MAX_RATE."""

from __future__ import annotations

import threading
import time

from tasks_app.conf import Environment


class Pace:
    """A token bucket of this process: `rate` tasks a second, and one second's worth at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = 0.0
        self._at: float | None = None

    def allows(self, rate: float) -> bool:
        """Take a token. False when there is none."""
        now = time.monotonic()
        with self._lock:
            most = max(rate, 1.0)
            self._tokens = most if self._at is None else min(self._tokens + (now - self._at) * rate, most)
            self._at = now
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True


def draining(env: Environment) -> bool:
    """Whether `manage.py up` is stopping: what came in now would wait for the next start."""
    return env.draining_mark.exists()


pace = Pace()
