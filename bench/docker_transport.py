"""The transport into containers by itself, in a bare loop: `python -m bench.docker_transport`.

8 containers run `cat`; one thread sends a line of 150 bytes to each and waits for it to come back. No JSON, no pool, no
database: FIFOs and Docker's attach in turns, and pipes to 8 child processes for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.engine import STDOUT, Container, Engine, Owner
from tasks_app.runner.process_engine import ProcessEngine
from testkit.images.__main__ import ensure
from testkit.images.recipes import BUSYBOX

LINE = b"x" * 149 + b"\n"
CONTAINERS = 8
CAT = Handler(name="cat", image=BUSYBOX, command=("cat",))


def docker(transport: str, home: Path) -> DockerEngine:
    """An engine that uses only this transport."""
    owner = Owner(f"bench-{uuid.uuid4().hex}", "bench", "bench", home)
    return DockerEngine(owner, {**os.environ, "DAEMON_DOCKER_TRANSPORT": transport})


def round_trips(engine: Engine, handler: Handler, seconds: float) -> float:
    """Round trips a second, through all containers together."""
    containers = [engine.start(handler, number) for number in range(CONTAINERS)]
    try:
        return _loop(containers, seconds)
    finally:
        for one in containers:
            one.destroy()


def _loop(containers: list[Container], seconds: float) -> float:
    poller = select.epoll()
    owners = {one.readers()[0]: one for one in containers}
    remaining = dict.fromkeys(owners, len(LINE))
    for descriptor in owners:
        poller.register(descriptor, select.EPOLLIN)

    def serve(until: float) -> int:
        trips = 0
        while time.perf_counter() < until:
            for descriptor, _ in poller.poll(1):
                one = owners[descriptor]
                remaining[descriptor] -= sum(len(data) for stream, data in one.receive(descriptor) if stream == STDOUT)
                if remaining[descriptor] == 0:
                    trips += 1
                    remaining[descriptor] = len(LINE)
                    one.send(LINE)
        return trips

    for one in containers:
        one.send(LINE)
    serve(time.perf_counter() + 0.5)
    began = time.perf_counter()
    trips = serve(began + seconds)
    taken = time.perf_counter() - began
    poller.close()
    return trips / taken


def main() -> None:
    """Measure and print medians; --json writes every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each repetition (default: 2)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ensure()
    # The same program as in the image: another `cat` makes other system calls.
    child = Handler(name="cat", command=(shutil.which("busybox") or "busybox", "cat"))
    figures: dict[str, list[float]] = {"fifo": [], "attach": [], "child processes": []}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        transports: dict[str, Callable[[], float]] = {
            "fifo": lambda: round_trips(docker("fifo", Path(folder)), CAT, options.seconds),
            "attach": lambda: round_trips(docker("attach", Path(folder)), CAT, options.seconds),
            "child processes": lambda: round_trips(ProcessEngine(), child, options.seconds),
        }
        for _ in range(options.n):
            for name, measure in transports.items():
                figures[name].append(round(measure()))
    for name, values in figures.items():
        print(f"{name}: {statistics.median(values):.0f} round trips/s {sorted(values)}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
