"""20,000 tasks over 8 containers: each reply proves its task, and nothing grows."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from bench.docker_roundtrip import Bench, shims, weight
from tasks_app.runner.docker_engine import DockerEngine

TASKS = 20_000


@pytest.fixture
def bench(engine: DockerEngine) -> Iterator[Bench]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # as the node does
    bench = Bench(engine, 8)
    bench.warm()
    yield bench
    assert bench.pool.close(30)
    sys.setswitchinterval(before)


def test_twenty_thousand_replies_prove_their_tasks_and_nothing_grows(bench: Bench) -> None:
    bench.run(2_000)
    first = {slot._talk.container.id for slot in bench.pool.slots if slot._talk}
    before = weight()
    bench.run(TASKS)
    after = weight()
    assert bench.bad == []
    assert {slot._talk.container.id for slot in bench.pool.slots if slot._talk} == first
    assert (after["descriptors"], after["threads"]) == (before["descriptors"], before["threads"])
    # One of each container, and none of any other: others' may come and go meanwhile.
    assert shims(first) == len(first) == 8
    # Megabytes: a kilobyte a task would be 20.
    assert after["mb"] - before["mb"] < 5
    grown = [after["dockerd_mb"] - before["dockerd_mb"]]
    # The engine is others' too, and grows by what they ask of it; by our tasks it would grow each time.
    while grown[-1] >= 40 and len(grown) < 3:
        least = weight()["dockerd_mb"]
        bench.run(TASKS)
        grown.append(weight()["dockerd_mb"] - least)
    assert grown[-1] < 40, grown
