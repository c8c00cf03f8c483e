"""Celery on RabbitMQ: no result backend, no mingle, no gossip, no heartbeat; messages persistent by default.

Tried for no-op tasks on two cores: one solo worker, two of them, and prefork with two; each with the default prefetch
and with 64.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from kombu import Queue

from bench.rivals.celery_noop import application, sender, worker
from bench.rivals.rival import Rival

_WORKER = worker("celery_rabbitmq")
RIVAL = Rival(
    name="Celery on RabbitMQ",
    says="prefork, 2 processes, prefetch 64, no result backend",
    server="rabbitmq",
    tasks=5_000,
    workers=(
        (*_WORKER, "--pool", "prefork", "--concurrency", "2", "--prefetch-multiplier", "64", "--queues", "celery"),
    ),
    one_slot=(*_WORKER, "--pool", "solo", "--prefetch-multiplier", "1", "--queues", "ordered"),
)

app = application(task_acks_late=False)
app.conf.task_queues = [Queue("celery"), Queue("ordered", max_priority=100)]
app.conf.task_default_queue = "celery"


def prepare() -> None:
    """Nothing: Celery declares its queues."""


def sending() -> AbstractContextManager[Callable[[int, int | None], None]]:
    """Sends priorities unchanged, to a queue that supports all of them."""
    return sender(
        app, lambda priority: {"queue": "celery"} if priority is None else {"priority": priority, "queue": "ordered"}
    )
