"""Celery on Redis: no result backend, no mingle, no gossip, no heartbeat.

Tried for no-op tasks on two cores: one solo worker, two of them, prefork and threads with two to four; each with the
default prefetch and with 64. A worker a core without a pool behind it is the fastest: nothing is handed on.
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
# Its priorities are 0-9 on Redis, and 0 is the best there; these are the lists it keeps for them.
app.conf.broker_transport_options = {"priority_steps": list(range(10)), "queue_order_strategy": "priority"}


def prepare() -> None:
    """It makes its lists itself."""


def sending() -> AbstractContextManager[Callable[[int, int | None], None]]:
    """0-100 to 9-0, as well as ten levels can."""
    return sender(app, lambda priority: {} if priority is None else {"priority": 9 - priority * 9 // 100})
