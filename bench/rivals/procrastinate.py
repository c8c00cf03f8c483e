"""procrastinate on PostgreSQL. Tried: two processes with 1 and with 8 jobs at once, one with 32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import procrastinate

from bench.rivals.rival import COMMIT_TASKS, URL, Rival
from bench.rivals.stamp import stamp

_WORKER = ("procrastinate", "--app", "bench.rivals.procrastinate.app", "worker")
RIVAL = Rival(
    name="procrastinate",
    says="2 processes, 8 jobs at once each, on PostgreSQL; each claim and each result in a durable commit of its own",
    server="postgres",
    tasks=1_500,
    workers=((*_WORKER, "--concurrency", "8"),) * 2,
    one_slot=(*_WORKER, "--concurrency", "1"),
)

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL))


@app.task(name="noop")
async def noop(number: int) -> None:
    """Stamp."""
    stamp(number)


def prepare() -> None:
    """Create its tables."""
    with app.open():
        app.schema_manager.apply_schema()


def fill(count: int) -> None:
    """Queue so many tasks."""
    with app.open():
        for first in range(0, count, COMMIT_TASKS):
            numbers = range(first, min(first + COMMIT_TASKS, count))
            noop.batch_defer(*({"number": number} for number in numbers))


@contextmanager
def sending() -> Iterator[Callable[[int, int | None], None]]:
    """Sends over one pool."""
    with app.open():

        def send(number: int, priority: int | None) -> None:
            noop.configure(priority=priority or 0).defer(number=number)

        yield send
