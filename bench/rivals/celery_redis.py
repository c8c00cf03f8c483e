"""Celery on Redis: no result backend, no mingle, no gossip, no heartbeat.

Tried for no-op tasks on two cores: one solo worker, two of them, prefork and threads with two to four; each with the
default prefetch and with 64. A worker a core without a pool behind it is the fastest: nothing is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery import Celery

from bench.rivals.rival import URL, Rival
from bench.rivals.stamp import stamp

_WORKER = ("celery", "-A", "bench.rivals.celery_redis", "worker", "--loglevel", "error")
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
RIVAL = Rival(
    name="Celery on Redis",
    says="2 workers with pool solo, prefetch 64, no result backend",
    server="redis",
    tasks=4_000,
    workers=tuple(
        (*_WORKER, *_QUIET, "--pool", "solo", "--prefetch-multiplier", "64", "--hostname", f"{name}@bench")
        for name in ("a", "b")
    ),
    one_slot=(*_WORKER, *_QUIET, "--pool", "solo", "--prefetch-multiplier", "1"),
)

app = Celery("bench", broker=URL)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
# Its priorities are 0-9 on Redis, and 0 is the best there; these are the lists it keeps for them.
app.conf.broker_transport_options = {"priority_steps": list(range(10)), "queue_order_strategy": "priority"}


@app.task(name="noop")
def noop(number: int) -> None:
    """Nothing but the stamp."""
    stamp(number)


def prepare() -> None:
    """It makes its lists itself."""


@contextmanager
def sending() -> Iterator[Callable[[int, int | None], None]]:
    """One connection for all."""
    with app.producer_or_acquire() as producer:

        def send(number: int, priority: int | None) -> None:
            # 0-100 to 9-0, as well as ten levels can.
            level = {} if priority is None else {"priority": 9 - priority * 9 // 100}
            noop.apply_async((number,), producer=producer, ignore_result=True, **level)

        yield send
