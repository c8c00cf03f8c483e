"""The pool of containers without database and broker: FIFOs and attach, warm and cold."""

from __future__ import annotations

import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.docker_roundtrip import Bench, cold, milliseconds
from bench.docker_transport import CAT, docker, round_trips
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.system import BadRun
from testkit.images.__main__ import ensure
from testkit.images.recipes import BUSYBOX

SANDBOXED_RUN = ("docker", "run", "--rm", "--network", "none", "--log-driver", "none", BUSYBOX, "true")
TRANSPORTS = {"fifo": "FIFOs bound into the container", "attach": "Docker's attach"}


def _measure(scene: Scene, transport: str) -> dict[str, float]:
    ensure()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, closing(docker(transport, Path(folder))) as engine:
        found["bare"] = round_trips(engine, CAT, 0.5 if scene.quick else 2.0)
        for slots in (1, 8, 32):
            bench = Bench(engine, slots)
            try:
                found[f"warm_{slots}"] = bench.warm()
                if slots == 1:
                    bench.one_by_one(200)
                    trip = milliseconds(bench.one_by_one(scene.scaled(4_000)))
                    found |= {"p50": trip["p50_ms"], "p99": trip["p99_ms"]}
                    found["exec"] = cold("docker", "exec", bench.container, "/bin/true", times=5)["p50_ms"]
                if slots == 8:
                    bench.run(1_000)
                    found["drain"] = bench.run(scene.scaled(10_000))
            finally:
                bench.pool.close(30)
            if bench.bad:
                raise BadRun(f"a reply does not prove its task: {bench.bad[0]}")
        found["run"] = cold(*SANDBOXED_RUN, times=5)["p50_ms"]
    return found


def _contestants(scene: Scene) -> list[Contestant]:
    if scene.no_docker is not None:
        return []
    names = {transport: f"ours: containers by {transport}" for transport in TRANSPORTS}
    return [
        Contestant(name, TRANSPORTS[transport], partial(_measure, scene, transport))
        for transport, name in names.items() if scene.wants(name)
    ]  # fmt: skip


ROW = Row(
    name="containers",
    title="Warm containers, the pool alone",
    measures={
        "bare": Figure("round trips of 150 bytes through 8 containers, nothing else", "/s", "more"),
        "drain": Figure("tasks through 8 containers", "/s", "more"),
        "p50": Figure("warm round trip, p50", "ms", "less"),
        "p99": Figure("warm round trip, p99", "ms", "less"),
        "exec": Figure("for comparison: docker exec true", "ms", "less"),
        "run": Figure("for comparison: docker run true", "ms", "less"),
        "warm_1": Figure("pre-warm 1", "s", "less"),
        "warm_8": Figure("pre-warm 8", "s", "less"),
        "warm_32": Figure("pre-warm 32", "s", "less"),
    },
    contestants=_contestants,
    repeats=3,
)
