"""What a deployment on PostgreSQL does beside a feed of batches and a reader of its metrics, by tenths of the tasks."""

from __future__ import annotations

import threading
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.backlog import TENTHS
from bench.ours import Ours
from bench.watched import settled
from testkit.process import Process, until

#: The feeder keeps as many tasks pending.
BACKLOG = 10_000
#: Between two readings of /api/metrics.
READ_SECONDS = 0.1


@dataclass(frozen=True)
class Fed:
    """`ends`: when each tenth had been settled, after the moment when the first one began; monotonic seconds.

    `reads`: each reading as (when it was answered, its seconds).
    """

    count: int
    ends: list[float]
    reads: list[tuple[float, float]]

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return self.count / (self.ends[-1] - self.ends[0])

    @property
    def last(self) -> float:
        """The rate of the last tenth, divided by that of the first."""
        return (self.ends[1] - self.ends[0]) / (self.ends[-1] - self.ends[-2])

    @property
    def last_read(self) -> float:
        """The median reading of the last tenth, in milliseconds."""
        seconds = sorted(took for at, took in self.reads if at >= self.ends[-2])
        return 1000 * seconds[len(seconds) // 2] if seconds else float("nan")


@dataclass
class Reader:
    """Reads ten times a second while it is entered. A reading that fails ends it; `close` raises its error."""

    url: str
    reads: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(30)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(READ_SECONDS):
                begun = time.monotonic()
                with urllib.request.urlopen(self.url, timeout=30) as answer:
                    answer.read()
                ended = time.monotonic()
                self.reads.append((ended, ended - begun))
        except Exception as error:
            self._error = error


def _reached(connection: Any, goal: int) -> bool:
    return settled(connection) >= goal


def fed(system: Ours, count: int, slowest: float) -> Fed:
    """Settle `count` tasks of a started system, or raise if that takes longer than `slowest` tasks a second."""
    deployment = system.deployment
    web = deployment.manage("web")
    deployment.until_answers(web)
    feeder = Process(deployment.home, deployment.environment, "-m", "bench.feeder", str(BACKLOG))
    with closing(deployment.connect()) as connection:
        until(lambda: settled(connection) > 0, what="the first task")
        with closing(Reader(f"{deployment.base}/api/metrics")) as reader:
            first, ends = settled(connection), [time.monotonic()]
            for tenth in TENTHS:
                until(
                    partial(_reached, connection, first + count * tenth // 10), count / slowest / 10, f"tenth {tenth}"
                )
                ends.append(time.monotonic())
        feeder.kill()
    deployment.none_left(system.worker)
    return Fed(count, ends, reader.reads)
