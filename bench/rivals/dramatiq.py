"""dramatiq on Redis, with its default middleware. Tried: 1 and 2 processes of 1 and 8 threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.rivals.rival import URL, Rival
from bench.rivals.stamp import stamp

RIVAL = Rival(
    name="dramatiq",
    says="2 processes of 8 threads, on Redis",
    server="redis",
    tasks=6_000,
    workers=(("dramatiq", "bench.rivals.dramatiq", "--processes", "2", "--threads", "8"),),
)

dramatiq.set_broker(RedisBroker(url=URL or "redis://127.0.0.1:1/0"))


@dramatiq.actor
def noop(number: int) -> None:
    """Stamp."""
    stamp(number)


def prepare() -> None:
    """Nothing: dramatiq creates its lists."""


@contextmanager
def sending() -> Iterator[Callable[[int, int | None], None]]:
    """Ignores priorities: in dramatiq they belong to actors, not messages."""

    def send(number: int, priority: int | None) -> None:
        noop.send(number)

    yield send
