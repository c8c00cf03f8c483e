"""A competitor in one measurement."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.backlog import Drained
from bench.cpu import seconds, tree
from bench.rivals import module
from bench.rivals.rival import Rival
from bench.rivals.stamp import count as count_of
from bench.rivals.stamp import read
from bench.servers import TOP, Servers
from bench.system import BadRun, Sent
from testkit.stores import PostgreSQLStore

#: For all tasks of a measurement.
TASKS_TIMEOUT_SECONDS = 120.0
#: How long a drain may be slower than its limit.
SLOW_SECONDS = 5.0


class RunningRival:
    """See `System`. Workers start as the rival's module says, and end by SIGKILL."""

    warm_first = False

    def __init__(self, key: str, servers: Servers, tuned: bool = True) -> None:
        """`tuned` false: as it comes. Raises ValueError if that is the same."""
        self._key, self._servers = key, servers
        self.rival: Rival = module(key).RIVAL
        self.name, self.says, self.tasks = self.rival.name, self.rival.says, self.rival.tasks
        self._words = self.rival.workers
        if not tuned:
            if self.rival.as_it_comes is None:
                raise ValueError(f"{self.name} has no untuned form")
            self._words = (self.rival.as_it_comes,)
            self.name, self.says = f"{self.name}, as it comes", self.rival.comes_as
        self.cost = 0.0
        self._workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> RunningRival:
        self._folder = tempfile.TemporaryDirectory(prefix=f"bench-{self._key}-")
        self._home = Path(self._folder.name)
        self._stamps = self._home / "stamps"
        server = self.rival.server
        self._database: PostgreSQLStore | None = self._servers.database() if server == "postgres" else None
        if self._database is not None:
            self._url = self._database.url
        else:
            self._url = self._servers.redis() if server == "redis" else self._servers.rabbitmq()
        self.environment = os.environ | {
            "BENCH_URL": self._url, "BENCH_STAMPS": str(self._stamps), "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(TOP),
        }  # fmt: skip
        self._run("-c", f"from bench.rivals import module; module({self._key!r}).prepare()")
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        if self._database is not None:
            self._database.drop()
        self._folder.cleanup()

    def _kill(self) -> None:
        for worker in self._workers:
            try:
                os.killpg(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            worker.wait()

    def start(self, one_slot: bool = False) -> None:
        workers = self._words
        if one_slot:
            if self.rival.one_slot is None:
                raise BadRun(f"{self.name} has no priorities")
            workers = (self.rival.one_slot,)
        # The module is also imported without a server, so its URL is filled in here.
        filled = [[self._url if word == "" else word for word in worker] for worker in workers]
        with (self._home / "said").open("ab") as said:
            self._workers += [
                subprocess.Popen(
                    [sys.executable, "-m", *words], cwd=self._home, env=self.environment,
                    stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                )
                for words in filled
            ]  # fmt: skip

    def ready(self) -> None:
        self.send(20)
        self.stamps(20)
        os.truncate(self._stamps, 0)  # the workers append

    def send(self, count: int, pause: float = 0.0, seed: int | None = None) -> list[Sent]:
        words = ["-m", "bench.rivals.sender", self._key, str(count), "--pause", str(pause)]
        out = self._run(*words, *(["--seed", str(seed)] if seed is not None else []))
        return [Sent(*each) for each in json.loads(out)]

    @property
    def url(self) -> str:
        """The URL of its server."""
        return self._url

    def fill(self, count: int) -> None:
        """Queue a whole backlog, in few commits. The rival's module has `fill`."""
        self._run("-c", f"from bench.rivals import module; module({self._key!r}).fill({count})")

    def drain(self, count: int, slowest: float) -> Drained:
        """Wait until `count` tasks have run, or until SLOW_SECONDS have passed with fewer than `slowest` a second.

        Raises BadRun if a task ran twice, or another one than those that were queued.
        """
        seen, since = 0, time.monotonic() + TASKS_TIMEOUT_SECONDS / 4  # the start of the workers
        stopped: float | None = None
        while (ran := count_of(self._stamps)) < count and stopped is None:
            self._alive()
            now = time.monotonic()
            if now > since + SLOW_SECONDS:
                stopped = now if ran - seen < slowest * (now - since) else None
                seen, since = ran, now
            elif ran and not seen:
                seen, since = ran, now
            time.sleep(0.02)
        self._kill()
        found = sorted(read(self._stamps), key=lambda each: each[1])
        numbers = {number for number, _ in found}
        if len(numbers) != len(found) or not numbers <= set(range(count)) or not found:
            raise BadRun(f"{self.name}: {len(found)} stamps of {len(numbers)} tasks, of {count}: {self._tail()}")
        return Drained(count, [stamp for _, stamp in found], stopped)

    def stamps(self, count: int) -> list[tuple[int, float]]:
        end, first, before = time.monotonic() + TASKS_TIMEOUT_SECONDS, 0, 0.0
        while (ran := count_of(self._stamps)) < count:
            self._alive()
            if time.monotonic() > end:
                raise BadRun(f"{self.name} ran {ran} of {count} tasks in {TASKS_TIMEOUT_SECONDS:g} s: {self._tail()}")
            if ran and not first:
                # Counted from here on, without the workers' start.
                first, before = ran, self._cpu()
            time.sleep(0.02)
        if count > first > 0:
            self.cost = (self._cpu() - before) / (count - first) * 1e6
        found = sorted(read(self._stamps), key=lambda each: each[1])
        if sorted(number for number, _ in found) != list(range(count)):
            raise BadRun(f"{self.name}: {len(found)} stamps, and not each of {count} tasks once")
        return found

    def pids(self) -> list[int]:
        return tree(worker.pid for worker in self._workers)

    def _cpu(self) -> float:
        return seconds([*(worker.pid for worker in self._workers), *self._servers.pids()])

    def _alive(self) -> None:
        if any(worker.poll() is not None for worker in self._workers):
            raise BadRun(f"{self.name}: a worker ended: {self._tail()}")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=self._home, env=self.environment, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise BadRun(f"{self.name}: {done.stderr[-1500:]}")
        return done.stdout

    def _tail(self) -> str:
        return (self._home / "said").read_text(errors="replace")[-1500:]
