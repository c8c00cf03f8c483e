"""Whether tasks may come in now: not while the system is being stopped, not faster than DAEMON_MAX_RATE, not into a
full queue."""

from __future__ import annotations

import os
import threading
import time

from tasks_app.api.backlog import backlog
from tasks_app.api.errors import Stopping, TooMany
from tasks_app.conf import Environment


class Pace:
    """A token bucket of this process: `rate` tasks a second, and one second's worth at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = 0.0
        self._at: float | None = None

    def allows(self, rate: float, count: int = 1) -> bool:
        """Take `count` tokens. False when there is none; one is enough, and those that come next wait for the rest."""
        now = time.monotonic()
        with self._lock:
            most = max(rate, 1.0)
            self._tokens = most if self._at is None else min(self._tokens + (now - self._at) * rate, most)
            self._at = now
            if self._tokens < 1.0:
                return False
            self._tokens -= count
            return True


def draining(env: Environment) -> bool:
    """Whether `manage.py up` is stopping: what came in now would wait for the next start."""
    return os.path.exists(env.draining_mark)  # half the time of the path's own method, before every POST


pace = Pace()


def admit(env: Environment, count: int = 1, look: bool = True) -> None:
    """Let `count` tasks in, or raise Stopping (503) or TooMany (429). `look` false: no database is asked."""
    if draining(env):
        raise Stopping
    limit = env.max_queue
    if backlog.full(limit, count, look):
        room = "" if count == 1 else f" and {count:,} more are too many"
        raise TooMany(f"the queue is full: {limit:,} tasks may wait{room}; come back later")
    # Last: a token is taken for what is let in alone, and who is refused on the short way asks once more.
    if env.max_rate is not None and not pace.allows(env.max_rate, count):
        raise TooMany(f"tasks come too fast: at most {env.max_rate:g} a second are taken; slow down")
