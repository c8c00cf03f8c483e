"""awa on PostgreSQL, in its default storage, which counts on many jobs at once.

Tried: one process with 32 (a quarter as fast) and with 128; two with 32 and 512.

`python -m bench.rivals.awa` is a worker; the package has no command for one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import awa

from bench.rivals.rival import COMMIT_TASKS, URL, Rival
from bench.rivals.stamp import stamp

QUEUE, AT_ONCE = "noop", 512
RIVAL = Rival(
    name="awa",
    says=f"1 process, {AT_ONCE} jobs at once, on PostgreSQL; claims and results appended in durable commits of"
    " several jobs",
    server="postgres",
    tasks=6_000,
    workers=(("bench.rivals.awa",),),
)


@dataclass
class Noop:
    """The task's arguments."""

    number: int


async def noop(job: awa.Job[Noop]) -> None:
    """Stamp."""
    stamp(job.args.number)


def prepare() -> None:
    """Create its tables."""
    asyncio.run(_prepare())


def fill(count: int) -> None:
    """Queue so many tasks."""
    asyncio.run(_fill(count))


async def _prepare() -> None:
    async with awa.AsyncClient(URL) as client:
        await client.migrate()
        await client.install_queue_storage()


async def _fill(count: int) -> None:
    async with awa.AsyncClient(URL) as client:
        for first in range(0, count, COMMIT_TASKS):
            numbers = range(first, min(first + COMMIT_TASKS, count))
            await client.enqueue_many_copy([Noop(number) for number in numbers], queue=QUEUE)


async def _work() -> None:
    async with awa.AsyncClient(URL) as client:
        client.task(Noop, queue=QUEUE)(noop)
        await client.start([(QUEUE, AT_ONCE)])
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_work())
