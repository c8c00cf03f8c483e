"""20,000 tasks on 8 containers: each reply proves its task, and no resource grows."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from bench.docker_roundtrip import Bench, resources, shims
from tasks_app.runner.docker.engine import DockerEngine

pytestmark = pytest.mark.long("thousands of tasks", seconds=6)

TASKS = 20_000


@pytest.fixture
def bench(engine: DockerEngine) -> Iterator[Bench]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # as the node does
    bench = Bench(engine, 8)
    bench.warm()
    yield bench
    bench.close()
    sys.setswitchinterval(before)


def containers(bench: Bench) -> set[str]:
    return {slot.container.id for slot in bench.pool.slots if slot.container is not None}


def test_twenty_thousand_replies_prove_their_tasks_and_nothing_grows(bench: Bench) -> None:
    bench.run(2_000)
    first = containers(bench)
    before = resources()
    bench.run(TASKS)
    after = resources()
    assert bench.bad == []
    assert containers(bench) == first
    assert after["threads"] == before["threads"]
    # A busy engine is asked over some connections more; a descriptor a task would be 20,000.
    assert after["descriptors"] - before["descriptors"] < 10
    # One shim for each container. Shims of other tests may come and go.
    assert shims(first) == len(first) == 8
    # Megabytes: a kilobyte a task would be 20.
    assert after["mb"] - before["mb"] < 5
    grown = [after["dockerd_mb"] - before["dockerd_mb"]]
    # Other tests use the engine too, and it grows with their requests; growth by our tasks would repeat.
    while grown[-1] >= 40 and len(grown) < 3:
        least = resources()["dockerd_mb"]
        bench.run(TASKS)
        grown.append(resources()["dockerd_mb"] - least)
    assert grown[-1] < 40, grown
