"""Admits new tasks: not while the system stops, not faster than DAEMON_MAX_RATE, not into a full queue."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tasks_app.api.backlog import backlog
from tasks_app.api.errors import QueueFull, Stopping, TooMany
from tasks_app.conf import Environment
from tasks_app.lifecycle import KeyReused


class TokenBucket:
    """Limits the rate of this process: `rate` tasks a second, with bursts of up to one second's worth. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = 0.0
        self._filled_at: float | None = None

    def take(self, rate: float, count: int = 1) -> bool:
        """Take `count` tokens; False if there is not one. The balance may go negative, so that a batch is not split."""
        now = time.monotonic()
        with self._lock:
            capacity = max(rate, 1.0)
            filled_at, self._filled_at = self._filled_at, now
            self._tokens = capacity if filled_at is None else min(self._tokens + (now - filled_at) * rate, capacity)
            if self._tokens < 1.0:
                return False
            self._tokens -= count
            return True


def draining(env: Environment) -> bool:
    """True while `manage.py up` stops: a task accepted now would wait for the next start."""
    return os.path.exists(env.draining_file)


token_bucket = TokenBucket()


@dataclass
class Admitted:
    """The tasks that a block may store. `stored`: how many it has stored, at most."""

    stored: int


@contextmanager
def admitted(env: Environment, count: int = 1) -> Iterator[Admitted]:
    """Admit `count` tasks, which the block stores. Raises Stopping (503) or TooMany (429)."""
    admit(env, count)
    tasks = Admitted(count)
    try:
        yield tasks
    except KeyReused:
        tasks.stored = 0
        raise
    finally:
        backlog.stored(tasks.stored)
        backlog.release(count - tasks.stored)


def admit(env: Environment, count: int = 1, may_query: bool = True) -> None:
    """Admit `count` tasks. Call `backlog.stored` or `backlog.release` afterwards.

    `may_query` False: use no database. Raises Stopping (503) or TooMany (429).
    """
    if draining(env):
        raise Stopping
    limit = env.max_queue
    if not backlog.reserve(limit, count, may_query):
        room = "" if count == 1 else f", and {count:,} more are too many"
        raise QueueFull(f"the queue is full: at most {limit:,} tasks may wait{room}; retry later")
    # Last, so that only admitted tasks take tokens: the fast path passes what it refuses to the view, which asks again.
    if env.max_rate is not None and not token_bucket.take(env.max_rate, count):
        backlog.release(count)
        raise TooMany(f"too many tasks: at most {env.max_rate:g} a second are accepted; slow down")
