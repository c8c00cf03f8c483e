"""The transport into containers by itself, in a bare loop.

8 containers run `cat`; one thread sends a line of 150 bytes to each and waits for it to come back. No JSON, no pool, no
database.
"""

from __future__ import annotations

import os
import select
import time
import uuid
from pathlib import Path

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.engine import STDOUT, Container, Engine, Owner
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
