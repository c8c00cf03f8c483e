"""The measured systems: this platform's configurations and the competitors."""

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
class Entrant:
    """A system, made anew for each measurement."""

    name: str
    says: str
    tasks: int
    make: Make
    has_priorities: bool = True


def ours(scene: Scene, containers: bool = False, selection: str = "fifo") -> list[Entrant]:
    """SQLite without a broker and PostgreSQL + Redis with 8 child processes; the latter also with 8 containers."""
    kinds = [("sqlite", "local", "process"), ("postgres", "redis", "process")]
    if containers and scene.no_docker is None:
        kinds.append(("postgres", "redis", "docker"))
    found = []
    for kind in kinds:
        make = partial(Ours, scene.servers, *kind, selection=selection)
        one = make()
        if scene.wants(one.name):
            found.append(Entrant(one.name, one.says, one.tasks, make))
    return found


def rivals(scene: Scene) -> list[Entrant]:
    """All competitors, or the selected ones."""
    found = []
    for key in scene.rivals:
        make = partial(RunningRival, key, scene.servers)
        one = make()
        found.append(Entrant(one.name, one.says, one.tasks, make, one.rival.one_slot is not None))
    return found


def untuned(scene: Scene) -> list[Entrant]:
    """Competitors with default workers, if these differ from the tuned ones."""
    found = []
    for key in scene.rivals:
        if module(key).RIVAL.as_it_comes is not None:
            make = partial(RunningRival, key, scene.servers, tuned=False)
            one = make()
            found.append(Entrant(one.name, one.says, one.tasks, make))
    return found


def all_systems(scene: Scene, containers: bool = False, selection: str = "fifo") -> list[Entrant]:
    """This platform first, then the competitors."""
    return [*ours(scene, containers, selection), *rivals(scene)]
