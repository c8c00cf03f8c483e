"""Celery's no-op task and sender, for both brokers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

from bench.rivals.rival import URL
from bench.rivals.stamp import stamp


def worker(module: str) -> tuple[str, ...]:
    """The command line of a worker for one of these modules, without optional messages between workers."""
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return ("celery", "-A", f"bench.rivals.{module}", "worker", "--loglevel", "error", *quiet)


def application(**more: Any) -> Celery:
    """An application without results, with the task `noop`, which only stamps."""
    app = Celery("bench", broker=URL)
    app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, **more)
    app.task(stamp, name="noop")
    return app


@contextmanager
def sender(app: Celery, options: Callable[[int | None], dict[str, Any]]) -> Iterator[Callable[[int, int | None], None]]:
    """Sends over one connection. `options`: the send options for a priority (0-100, or None)."""
    noop = app.tasks["noop"]
    with app.producer_or_acquire() as producer:

        def send(number: int, priority: int | None) -> None:
            noop.apply_async((number,), producer=producer, ignore_result=True, **options(priority))

        yield send
