"""Whether priorities are kept: 1,000 queued tasks with random priorities run one after another."""

from __future__ import annotations

from functools import partial

from bench.numbers import inversions
from bench.rows.field import Make, all_systems
from bench.rows.row import Contestant, Figure, Row, Scene

SEED = 20261125


def _measure(make: Make, count: int) -> dict[str, float]:
    with make() as system:
        if system.warm_first:
            system.start(one_slot=True)
            sent = system.send(count, seed=SEED)
        else:
            sent = system.send(count, seed=SEED)
            system.start(one_slot=True)
        priorities = [one.priority or 0 for one in sent]
        return {"inversions": inversions([(priorities[number], number) for number, _ in system.stamps(count)])}


def _contestants(scene: Scene) -> list[Contestant]:
    count = 200 if scene.quick else 1000
    return [
        Contestant(one.name, one.says, partial(_measure, one.make, count))
        for one in all_systems(scene, selection="priority")
        if one.has_priorities
    ]


ROW = Row(
    name="order",
    title="Order of 1,000 random priorities, one slot",
    measures={"inversions": Figure("pairs in the wrong order", "%", "less")},
    contestants=_contestants,
    repeats=2,
)
