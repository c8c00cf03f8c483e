"""How fast a backlog of no-op tasks is processed."""

from __future__ import annotations

from functools import partial

from bench.numbers import drain_rate
from bench.rows.field import Make, all_systems, untuned
from bench.rows.row import Contestant, Figure, Row, Scene


def _measure(make: Make, count: int | None) -> dict[str, float]:
    with make() as system:
        tasks = count or system.tasks
        if system.warm_first:
            # Warm slots, then the complete backlog in one commit.
            system.start()
            system.send(tasks)
        else:
            # Sending is slower than processing, so the backlog must be complete before the workers start.
            system.send(tasks)
            system.start()
        rate = drain_rate([stamp for _, stamp in system.stamps(tasks)])
        return {"rate": rate, "cpu": system.cost}


def _contestants(scene: Scene) -> list[Contestant]:
    field = [*all_systems(scene, containers=True), *untuned(scene)]
    return [
        Contestant(one.name, one.says, partial(_measure, one.make, scene.scaled(one.tasks) if scene.quick else None))
        for one in field
    ]


ROW = Row(
    name="drain",
    title="Drain of no-op tasks",
    measures={"rate": Figure("rate", "tasks/s", "more"), "cpu": Figure("CPU a task", "µs", "less")},
    contestants=_contestants,
)
