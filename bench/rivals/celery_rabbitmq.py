"""Celery on RabbitMQ: no result backend, no mingle, no gossip, no heartbeat; messages persistent, as by default.

Tried for no-op tasks on two cores: one solo worker, two of them, and prefork with two; each with the default prefetch
and with 64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery import Celery
from kombu import Queue

from bench.rivals.rival import URL, Rival
from bench.rivals.stamp import stamp

_WORKER = ("celery", "-A", "bench.rivals.celery_rabbitmq", "worker", "--loglevel", "error")
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
RIVAL = Rival(
    name="Celery on RabbitMQ",
    says="prefork, 2 processes, prefetch 64, no result backend",
    server="rabbitmq",
    tasks=5_000,
    workers=(
        (
            *_WORKER,
            *_QUIET,
            "--pool",
            "prefork",
            "--concurrency",
            "2",
            "--prefetch-multiplier",
            "64",
            "--queues",
            "celery",
        ),
    ),
    one_slot=(*_WORKER, *_QUIET, "--pool", "solo", "--prefetch-multiplier", "1", "--queues", "ordered"),
)

app = Celery("bench", broker=URL)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, task_acks_late=False)
app.conf.task_queues = [Queue("celery"), Queue("ordered", max_priority=100)]
app.conf.task_default_queue = "celery"


@app.task(name="noop")
def noop(number: int) -> None:
    """Nothing but the stamp."""
    stamp(number)


def prepare() -> None:
    """It declares its queues itself."""


@contextmanager
def sending() -> Iterator[Callable[[int, int | None], None]]:
    """One connection for all."""
    with app.producer_or_acquire() as producer:

        def send(number: int, priority: int | None) -> None:
            level = {"queue": "celery"} if priority is None else {"priority": priority, "queue": "ordered"}
            noop.apply_async((number,), producer=producer, ignore_result=True, **level)

        yield send
