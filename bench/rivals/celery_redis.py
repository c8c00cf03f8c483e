"""Celery on Redis: no result backend, no mingle, no gossip, no heartbeat.

Tried for no-op tasks on two cores: one solo worker, two of them, prefork and threads with two to four; each with the
default prefetch and with 64. A solo worker on each core is the fastest: it hands no task to another process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.rivals.celery_noop import application, sender, worker
from bench.rivals.rival import Rival

_WORKER = worker("celery_redis")
RIVAL = Rival(
    name="Celery on Redis",
    says="2 workers with pool solo, prefetch 64, no result backend",
    server="redis",
    tasks=4_000,
    workers=tuple(
        (*_WORKER, "--pool", "solo", "--prefetch-multiplier", "64", "--hostname", f"{name}@bench")
        for name in ("a", "b")
    ),
    one_slot=(*_WORKER, "--pool", "solo", "--prefetch-multiplier", "1"),
    as_it_comes=("celery", "-A", "bench.rivals.celery_redis", "worker", "--concurrency", "2"),
    comes_as="prefork, a process a core, prefetch 4; no result backend",
)

app = application()
# On Redis priorities are 0-9, and 0 is the highest; each has a list.
app.conf.broker_transport_options = {"priority_steps": list(range(10)), "queue_order_strategy": "priority"}


def prepare() -> None:
    """Nothing: Celery creates its lists."""


def sending() -> AbstractContextManager[Callable[[int, int | None], None]]:
    """Maps 0-100 to 9-0."""
    return sender(app, lambda priority: {} if priority is None else {"priority": 9 - priority * 9 // 100})
