"""Who takes part: ours in its configurations, and the rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.ours import Ours
from bench.rivals import module
from bench.rivals.run import RunningRival
from bench.rows.row import Scene
from bench.system import System

Make = Callable[[], System]


@dataclass(frozen=True)
class One:
    """A system that can be made for each measurement anew."""

    name: str
    says: str
    tasks: int
    make: Make
    has_priorities: bool = True


def ours(scene: Scene, containers: bool = False, selection: str = "fifo") -> list[One]:
    """SQLite + doorbell and PostgreSQL + Redis with 8 child processes; the latter with 8 containers too."""
    kinds = [("sqlite", "doorbell", "process"), ("postgres", "redis", "process")]
    if containers and scene.no_docker is None:
        kinds.append(("postgres", "redis", "docker"))
    found = []
    for kind in kinds:
        make = partial(Ours, scene.servers, *kind, selection=selection)
        one = make()
        if scene.wants(one.name):
            found.append(One(one.name, one.says, one.tasks, make))
    return found


def rivals(scene: Scene) -> list[One]:
    """All of them, or those that are wanted."""
    found = []
    for key in scene.rivals:
        make = partial(RunningRival, key, scene.servers)
        one = make()
        found.append(One(one.name, one.says, one.tasks, make, one.rival.one_slot is not None))
    return found


def untuned(scene: Scene) -> list[One]:
    """Rivals with what their workers do unless told otherwise, where that makes a difference."""
    found = []
    for key in scene.rivals:
        if module(key).RIVAL.as_it_comes is not None:
            make = partial(RunningRival, key, scene.servers, tuned=False)
            one = make()
            found.append(One(one.name, one.says, one.tasks, make))
    return found


def everybody(scene: Scene, containers: bool = False, selection: str = "fifo") -> list[One]:
    """Ours first."""
    return [*ours(scene, containers, selection), *rivals(scene)]
