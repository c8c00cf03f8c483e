"""RQ: two of its SimpleWorkers, which run jobs in their own process and do not fork."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis import Redis
from rq import Queue

from bench.rivals.rival import URL, Rival
from bench.rivals.stamp import stamp

_WORKER = ("rq.cli", "worker", "--url", URL, "--worker-class", "rq.SimpleWorker", "--quiet")
RIVAL = Rival(
    name="RQ",
    says="2 SimpleWorkers (no fork a job), results not kept",
    server="redis",
    tasks=1_500,
    workers=((*_WORKER, "--disable-job-desc-logging"),) * 2,
)


def prepare() -> None:
    """Nothing: RQ creates its lists."""


@contextmanager
def sending() -> Iterator[Callable[[int, int | None], None]]:
    """Sends over one connection."""
    queue = Queue(connection=Redis.from_url(URL))

    def send(number: int, priority: int | None) -> None:
        queue.enqueue(stamp, number, result_ttl=0)

    yield send
