"""Admits new tasks: not while the system stops, not faster than DAEMON_MAX_RATE or the rate of the caller's API key,
not into a full queue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tasks_app.api.backlog import backlog
from tasks_app.api.errors import QueueFull, Stopping, TooMany
from tasks_app.conf import Environment
from tasks_app.keys.key_rate import KeyRate
from tasks_app.keys.token_bucket import TokenBucket
from tasks_app.lifecycle import KeyReused


def draining(env: Environment) -> bool:
    """True while `manage.py up` stops: a task accepted now would wait for the next start."""
    return os.path.exists(env.draining_file)


token_bucket = TokenBucket()


@dataclass
class Admitted:
    """The tasks that a block may store. `stored`: how many it has stored, at most."""

    stored: int


@contextmanager
def admitted(env: Environment, count: int = 1, rate: KeyRate | None = None) -> Iterator[Admitted]:
    """Admit `count` tasks, which the block stores; see `admit`. Raises Stopping (503) or TooMany (429)."""
    admit(env, count, rate=rate)
    tasks = Admitted(count)
    try:
        yield tasks
    except KeyReused:
        tasks.stored = 0
        raise
    finally:
        backlog.stored(tasks.stored)
        backlog.release(count - tasks.stored)


def admit(env: Environment, count: int = 1, may_query: bool = True, rate: KeyRate | None = None) -> None:
    """Admit `count` tasks. Call `backlog.stored` or `backlog.release` afterwards.

    `may_query` False: use no database. `rate`: of the caller's key. Raises Stopping (503) or TooMany (429).
    """
    if draining(env):
        raise Stopping
    limit = env.max_queue
    if not backlog.reserve(limit, count, may_query):
        room = "" if count == 1 else f", and {count:,} more are too many"
        raise QueueFull(f"the queue is full: at most {limit:,} tasks may wait{room}; retry later")
    # Last, so that only admitted tasks take tokens: the fast path passes what it refuses to the view, which asks again.
    # The key's rate first: a caller that exceeds its own takes nothing from the others.
    if rate is not None and not rate.take(count):
        backlog.release(count)
        raise TooMany(f"too many tasks: at most {rate.rate:g} a second are accepted with this API key; slow down")
    if env.max_rate is not None and not token_bucket.take(env.max_rate, count):
        backlog.release(count)
        if rate is not None:
            rate.release(count)
        raise TooMany(f"too many tasks: at most {env.max_rate:g} a second are accepted; slow down")
