"""From the time when a POST is due until its result is readable, at 50 a second and at 80 % of the capacity.

Open loop: a POST that is sent late counts from when it was due.
"""

from __future__ import annotations

import sys
from functools import partial

from bench.numbers import quantile
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.served import Served, kinds
from bench.system import BadRun
from bench.watcher import Watcher


def _measure(scene: Scene, database: str, broker: str, seconds: float) -> dict[str, float]:
    sys.setswitchinterval(0.0005)
    with Served(scene.servers, database, broker) as served:
        served.up()
        served.post(200)
        served.none_left(served.process)
        first = 200
        p50, p99 = _open_loop(served, 50.0, int(50 * seconds), first)
        figures = {"50_p50": p50, "50_p99": p99}
        first += int(50 * seconds)
        burst = max(int(600 * seconds), 1000)  # over a second, for a steady state
        load = served.post(burst, first=first)
        served.none_left(served.process)
        first += burst
        stamps = [stamp for number, stamp in served.stamps(first) if number >= first - burst]
        capacity = burst / (max(stamps) - min(one.due for one in load.good()))
        count = int(capacity * 0.8 * seconds)
        p50, p99 = _open_loop(served, capacity * 0.8, count, first)
        served.stamps(first + count)
        return figures | {"80_rate": capacity * 0.8, "80_p50": p50, "80_p99": p99}


def _open_loop(served: Served, rate: float, count: int, first: int) -> tuple[float, float]:
    """p50 and p99 in ms."""
    with Watcher(served) as watcher:
        answers = served.post(count, rate=rate, first=first, connections=64).good()
        served.none_left(served.process)
    ids = [str(one.body["task_id"]).replace("-", "") for one in answers]
    if missing := sum(identity not in watcher.seen for identity in ids):
        raise BadRun(f"the results of {missing} tasks were not seen")
    took = [(watcher.seen[identity] - one.due) * 1e3 for identity, one in zip(ids, answers, strict=True)]
    return quantile(took, 0.5), quantile(took, 0.99)


def _contestants(scene: Scene) -> list[Contestant]:
    seconds = 2.0 if scene.quick else 6.0
    says = "web server and one node, 8 child processes; read by polling every 2 ms"
    return [
        Contestant(name, says, partial(_measure, scene, database, broker, seconds))
        for name, database, broker in kinds(scene.wants)
    ]


ROW = Row(
    name="latency",
    title="POST to completed",
    measures={
        "50_p50": Figure("at 50/s p50", "ms", "less"),
        "50_p99": Figure("at 50/s p99", "ms", "less"),
        "80_rate": Figure("80 % of capacity", "/s", "more"),
        "80_p50": Figure("at 80 % p50", "ms", "less"),
        "80_p99": Figure("at 80 % p99", "ms", "less"),
    },
    contestants=_contestants,
)
