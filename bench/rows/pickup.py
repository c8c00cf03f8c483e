"""How long a single task waits on an idle system: from the return of the sending call to its handler."""

from __future__ import annotations

from functools import partial

from bench.numbers import quantile
from bench.rows.field import Make, all_systems
from bench.rows.row import Contestant, Figure, Row, Scene

PAUSE_SECONDS = 0.015


def _measure(make: Make, count: int) -> dict[str, float]:
    with make() as system:
        system.start()
        system.ready()
        warm = 10
        sent = system.send(count + warm, pause=PAUSE_SECONDS)[warm:]
        ran = dict(system.stamps(count + warm))
        waits = [(ran[number] - one.returned) * 1e3 for number, one in enumerate(sent, warm)]
        with_call = [(ran[number] - one.began) * 1e3 for number, one in enumerate(sent, warm)]
        return {"p50": quantile(waits, 0.5), "p99": quantile(waits, 0.99), "whole": quantile(with_call, 0.5)}


def _contestants(scene: Scene) -> list[Contestant]:
    count = 50 if scene.quick else 200
    return [
        Contestant(one.name, one.says, partial(_measure, one.make, count))
        for one in all_systems(scene, containers=True)
    ]  # fmt: skip


ROW = Row(
    name="pickup",
    title="Pickup of a single task, idle system",
    measures={
        "p50": Figure("p50", "ms", "less"),
        "p99": Figure("p99", "ms", "less"),
        "whole": Figure("p50 with the call itself", "ms", "less"),
    },
    contestants=_contestants,
)
