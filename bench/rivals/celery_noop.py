"""What the two of Celery share: its no-op task, and how it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

from bench.rivals.rival import URL
from bench.rivals.stamp import stamp


def worker(module: str) -> tuple[str, ...]:
    """The words that start a worker of one of these modules, as quiet as can be."""
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return ("celery", "-A", f"bench.rivals.{module}", "worker", "--loglevel", "error", *quiet)


def application(**more: Any) -> Celery:
    """Without results, and with the task `noop`: nothing but the stamp."""
    app = Celery("bench", broker=URL)
    app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, **more)
    app.task(stamp, name="noop")
    return app


@contextmanager
def sender(app: Celery, options: Callable[[int | None], dict[str, Any]]) -> Iterator[Callable[[int, int | None], None]]:
    """One connection for all. `options`: how a priority (0-100, or None) is sent."""
    noop = app.tasks["noop"]
    with app.producer_or_acquire() as producer:

        def send(number: int, priority: int | None) -> None:
            noop.apply_async((number,), producer=producer, ignore_result=True, **options(priority))

        yield send
