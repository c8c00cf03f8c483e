"""Oban on PostgreSQL, as `oban start` runs it.

Tried: one process with 8 jobs at once (half as fast) and with 128; two with 8, 32 and 128.
"""

from __future__ import annotations

import asyncio

from oban import Oban, job, schema
from psycopg_pool import AsyncConnectionPool

from bench.rivals.rival import COMMIT_TASKS, URL, Rival
from bench.rivals.stamp import stamp

_START = ("oban", "start", "--dsn", URL, "--cron-modules", "bench.rivals.oban", "--log-level", "ERROR")
RIVAL = Rival(
    name="Oban",
    says="1 process, 32 jobs at once, on PostgreSQL; claims and results in durable commits of several jobs,"
    " an UPDATE for each result",
    server="postgres",
    tasks=3_000,
    workers=((*_START, "--queues", "default:32"),),
)


@job()
def noop(number: int) -> None:
    """Stamp."""
    stamp(number)


def prepare() -> None:
    """Create its tables."""
    asyncio.run(_prepare())


def fill(count: int) -> None:
    """Queue so many tasks."""
    asyncio.run(_fill(count))


async def _prepare() -> None:
    async with AsyncConnectionPool(URL, min_size=1, open=False) as pool:
        await schema.install(pool)


async def _fill(count: int) -> None:
    async with AsyncConnectionPool(URL, min_size=1, open=False) as pool:
        client = Oban(pool=pool)
        for first in range(0, count, COMMIT_TASKS):
            numbers = range(first, min(first + COMMIT_TASKS, count))
            await client.enqueue_many(noop.new(number) for number in numbers)
