"""This platform in one configuration, for one measurement."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bench.cpu import seconds
from bench.deployment import Deployment
from bench.servers import Servers
from bench.system import Sent
from testkit.process import Process

SERVERS = {"sqlite": "SQLite", "postgres": "PostgreSQL", "local": "no broker", "redis": "Redis"}
SLOTS = {"process": "child processes", "docker": "warm containers"}


class Ours:
    """See `System`. One node, whose handlers are warm when `start` returns."""

    warm_first = True

    def __init__(
        self,
        servers: Servers,
        database: str,
        broker: str,
        engine: str = "process",
        slots: int = 8,
        selection: str = "fifo",
        limits: Sequence[str] = (),
        keys: int = 0,
        work: float = 0.0,
    ) -> None:
        """`limits`: lines of handlers.toml; `keys`: how many limit_keys the tasks have; `work`: seconds of a task."""
        self.deployment = Deployment(servers, database, broker, DAEMON_TASK_SELECTION=selection)
        self._engine, self._slots = engine, slots
        self.tasks = 8_000 if engine == "docker" else 12_000
        self.name = f"ours: {SERVERS[database]}, {SERVERS[broker]}" + (", containers" if engine == "docker" else "")
        self.says = f"one node, {slots} {SLOTS[engine]}, durable results"
        self._first, self.cost = 0, 0.0
        self._servers = servers
        self._limits, self._keys, self._work = limits, keys, work

    def __enter__(self) -> Ours:
        self.deployment.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.deployment.__exit__(*error)

    def start(self, one_slot: bool = False) -> None:
        self.deployment.stamp_handler(1 if one_slot else self._slots, self._engine, self._limits, self._work)
        self.worker: Process = self.deployment.manage("worker")
        self.deployment.warm(self.worker)
        if self._limits:
            self.deployment.limited()
        self._containers = self.deployment.container_pids() if self._engine == "docker" else []
        self._before = self._cpu()

    def ready(self) -> None:
        """`start` has warmed them up."""

    def send(self, count: int, pause: float = 0.0, seed: int | None = None) -> list[Sent]:
        words = ["-m", "bench.submitter", str(count), "--pause", str(pause)]
        words += ["--keys", str(self._keys)] if self._keys else []
        out = self.deployment.run(*words, *(["--seed", str(seed)] if seed is not None else []))
        self._first = 1 if pause else 0  # the sender's first task does not count
        return [Sent(*each) for each in json.loads(out)]

    def stamps(self, count: int) -> list[tuple[int, float]]:
        # Counted from here on, without the servers' work for the sender.
        before = self._cpu()
        first = self.deployment.completed()
        self.deployment.none_left(self.worker, 120.0 + count / 100)
        if first > count / 2:  # of the few that are left, the kernel's tick of 10 ms may say nothing
            first, before = 0, self._before
        self.cost = (self._cpu() - before) / (count - first) * 1e6
        found = self.deployment.stamps(count + self._first)
        return [(number - self._first, stamp) for number, stamp in found if number >= self._first]

    def _cpu(self) -> float:
        return seconds([self.worker.pid, *self._containers, *self._servers.pids()])

    def pids(self) -> list[int]:
        return [self.worker.pid]
