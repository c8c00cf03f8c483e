"""Huey on Redis, results off; its priority queue if priorities are needed.

Tried: one thread (its default, half as fast), two processes, four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from huey import PriorityRedisHuey, RedisHuey

from bench.rivals.rival import URL, Rival
from bench.rivals.stamp import stamp

_CONSUMER = "huey.bin.huey_consumer"
RIVAL = Rival(
    name="Huey",
    says="2 worker processes, on Redis, results off",
    server="redis",
    tasks=6_000,
    workers=((_CONSUMER, "bench.rivals.huey.plain", "-w", "2", "-k", "process", "-n", "-q"),),
    as_it_comes=(_CONSUMER, "bench.rivals.huey.plain", "-q"),
    comes_as="1 worker thread, on Redis, results off",
    one_slot=(_CONSUMER, "bench.rivals.huey.ordered", "-w", "1", "-k", "process", "-n", "-q"),
)

plain = RedisHuey("plain", url=URL or None, results=False)
ordered = PriorityRedisHuey("ordered", url=URL or None, results=False)
noop = plain.task(name="noop")(stamp)
ordered_noop = ordered.task(name="ordered_noop")(stamp)


def prepare() -> None:
    """Nothing: Huey creates its lists."""


@contextmanager
def sending() -> Iterator[Callable[[int, int | None], None]]:
    """Sends over one connection."""

    def send(number: int, priority: int | None) -> None:
        if priority is None:
            noop(number)
        else:
            ordered_noop(number, priority=priority)

    yield send
