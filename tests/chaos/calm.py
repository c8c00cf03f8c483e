"""What must become true after the faults, and what must be gone at the end."""

from __future__ import annotations

import os
from collections.abc import Callable

from docker.errors import DockerException

from testkit.process import until
from tests.chaos.checker import Violation
from tests.chaos.scene import TYPES, Scene

#: Time limits after the last fault for every slot to be warm, every task to end, and what ended nodes left to be
#: removed. An overloaded machine gets proportionally more.
WARM_SECONDS, ALL_ENDED_SECONDS, SWEPT_SECONDS = 30.0, 180.0, 60.0


class Warmth:
    """Which pools have been full since the faults. Not all at one time: the load still crashes containers."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen: set[tuple[str, str]] = set()

    def complete(self) -> bool:
        """Whether the right number of nodes lives, and each of their pools has been full."""
        pools = self._scene.pools()
        self._seen |= {
            (node, name) for node, each in pools.items() for name, pool in each.items() if pool["warm"] == pool["slots"]
        }
        expected = {(node, name) for node in pools for name in TYPES}
        return len(pools) == self._scene.options.nodes and expected <= self._seen

    def missing(self) -> str:
        """The awaited state, for a message."""
        return f"a full pool of each handler on each node: {self._scene.slots()}"


def overload() -> float:
    """How much longer than usual everything takes, because the machine has more to do than it can: 1 or more."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def within(true: Callable[[], object], seconds: float, rule: str, what: Callable[[], str]) -> list[Violation]:
    try:
        until(true, seconds * overload(), what)
    except AssertionError as error:
        return [Violation(rule, str(error))]
    return []


def left_by_ended_nodes(scene: Scene) -> list[str]:
    """Containers of nodes that have ended, while others live: their sweeps remove them."""
    if scene.engine is None:
        return []
    try:
        living = scene.pools()
        found = scene.engine.of_nodes(scene.deployment)
        return [f"the container {each} of {node} is there" for each, node in found.items() if node not in living]
    except DockerException as error:
        return [f"the engine does not say whether containers exist: {error}"]


def leftovers(scene: Scene) -> list[str]:
    """Handlers and containers that outlived the last process."""
    found = [f"the handler {command} (pid {pid}) lives" for pid, command in scene.children_left().items()]
    if scene.engine is not None:
        try:
            found += [f"the container {each[:12]} is there" for each in scene.engine.containers(scene.deployment)]
        except DockerException as error:
            found.append(f"the engine does not say whether containers exist: {error}")
    return found
