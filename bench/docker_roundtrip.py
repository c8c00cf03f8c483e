"""Warm containers with only the pool, no database, no broker: a loop that checks each reply; and what must not grow
meanwhile: descriptors, threads and memory of this process, shims, memory of the engine."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import Call, CallResult
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.pool import Pool
from tasks_app.runner.wire import Success, request_line
from testkit.images.recipes import PYTHON
from testkit.polled_reactor import PolledReactor

#: Each answer names its task, so the next line is not held back, and has its number, times 7 and one more.
ECHO = (
    "import sys, json\n"
    "for line in sys.stdin:\n"
    " t = json.loads(line)\n"
    " reply = {'task_id': t['task_id'], 'status': 'success', 'result': t['task_data']['n'] * 7 + 1}\n"
    " sys.stdout.write(json.dumps(reply) + chr(10)); sys.stdout.flush()\n"
)


class Bench:
    """A pool of containers, and a loop that keeps it busy."""

    def __init__(self, engine: DockerEngine, slots: int) -> None:
        self._free = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self.bad: list[CallResult] = []
        self.seconds: list[float] | None = None
        self.container = ""
        """The id of the container that answered last."""
        handler = Handler(name="bench", image=PYTHON, command=("python3", "-S", "-E", "-c", ECHO), instances=slots)
        self._reactor = PolledReactor()
        self.pool = Pool(handler, engine, self._reactor, self._free.release, self._on_done, ready_after=0.0)

    def close(self) -> None:
        """End all containers."""
        assert self.pool.close(30.0)
        self._reactor.close()

    def warm(self) -> float:
        """Start all containers. Returns the seconds until all are ready."""
        began = time.perf_counter()
        self.pool.start()
        while self.pool.free() < len(self.pool.slots):
            self._free.acquire(timeout=0.01)
        return time.perf_counter() - began

    def run(self, calls: int) -> float:
        """Send `calls` tasks through all slots. Returns tasks a second."""
        began = time.perf_counter()
        for number in range(calls):
            self._send(number)
        for _ in range(calls):
            self._done.acquire()
        return calls / (time.perf_counter() - began)

    def _send(self, number: int) -> None:
        while (slot := self.pool.take()) is None:
            self._free.acquire()
        identity = str(uuid.uuid4())
        slot.run(Call(request_line(identity, "bench", f'{{"n":{number}}}', 1), 60.0, number, identity))

    def one_by_one(self, calls: int) -> list[float]:
        """Send `calls` tasks one after another. Returns the seconds from each send to its reply."""
        self.seconds = []
        for number in range(calls):
            self._send(number)
            self._done.acquire()
        seconds, self.seconds = self.seconds, None
        return seconds

    def _on_done(self, done: CallResult) -> None:
        if not isinstance(done.outcome, Success) or done.outcome.result != done.call.token * 7 + 1:
            self.bad.append(done)
        self.container = done.container
        if self.seconds is not None:
            self.seconds.append(done.seconds)
        self._done.release()


def milliseconds(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_ms": round(statistics.median(ordered) * 1e3, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 3),
    }


def cold(*command: str, times: int) -> dict[str, float]:
    """Time a command of Docker's, for comparison."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return milliseconds(taken)


def _resident(pid: int | str) -> int:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _processes(name: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if name in (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def shims(containers: Iterable[str]) -> int:
    """The number of containerd-shims of these containers (given by the beginnings of their ids)."""
    count = 0
    for pid in _processes("containerd-shim"):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text()
            count += any(container in words for container in containers)
    return count


def resources() -> dict[str, float]:
    """Resources that must not grow. `shims` and `dockerd_mb` cover everything on the engine."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "mb": round(_resident("self") / 1e6, 1),
        "shims": len(_processes("containerd-shim")),
        "dockerd_mb": round(sum(_resident(pid) for pid in _processes("dockerd")) / 1e6, 1),
    }
