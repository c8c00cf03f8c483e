"""What has to come true once the faults are over, and what has to be gone at the end."""

from __future__ import annotations

import os
from collections.abc import Callable

from docker.errors import DockerException

from tests.chaos.checker import Violation
from tests.chaos.scene import TYPES, Scene
from tests.system.process import until

#: Seconds after the last fault in which every slot has to be warm again, and in which every task has to have ended. On
#: a machine that has more to do than it has cores, so many times longer.
FULL_AGAIN, ALL_ENDED = 30.0, 180.0


class Warmth:
    """Which pools have been full since the storm. Not all need be at one moment: the load goes on to crash its own."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen: set[tuple[str, str]] = set()

    def complete(self) -> bool:
        """Whether as many nodes live as ought to, and each pool of theirs has been full."""
        pools = self._scene.pools()
        self._seen |= {
            (node, name) for node, each in pools.items() for name, seat in each.items() if seat["warm"] == seat["slots"]
        }
        wanted = {(node, name) for node in pools for name in TYPES}
        return len(pools) == self._scene.options.nodes and wanted <= self._seen

    def missing(self) -> str:
        """For people."""
        return f"a full pool of each handler on each node: {self._scene.slots()}"


def within(true: Callable[[], object], seconds: float, rule: str, what: Callable[[], str]) -> list[Violation]:
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    try:
        until(true, seconds * crowd, what)
    except AssertionError as error:
        return [Violation(rule, str(error))]
    return []


def left_behind(scene: Scene) -> list[str]:
    """What was to be gone with the last process."""
    left = [f"the handler {command} (pid {pid}) lives" for pid, command in scene.children_left().items()]
    if scene.engine is not None:
        try:
            left += [f"the container {each[:12]} is there" for each in scene.engine.containers(scene.deployment)]
        except DockerException as error:
            left.append(f"nobody knows whether containers are there: {error}")
    return left
