"""Containers of our own that have to go, and could not be removed when they had to."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from tasks_app.runner.orphans import NODE

#: Seconds after which a container with our name on it that we know nothing of is litter.
LITTER = 60.0


class Litter:
    """What one engine object owes. Any thread may use it."""

    def __init__(self, node: str) -> None:
        """`node`: whose containers they are."""
        self._node = node
        # By id or name, since when.
        self._owed: dict[str, float] = {}
        self._strange: dict[str, float] = {}

    def add(self, container: str) -> None:
        """It has to go. An id; or a name, where nobody knows whether there is one, or will be."""
        self._owed[container] = time.monotonic()

    def gone(self, container: str) -> None:
        """It is removed."""
        self._owed.pop(container, None)

    def among(
        self, found: Mapping[str, Mapping[str, str]], names: Mapping[str, set[str]], known: Collection[str]
    ) -> list[str]:
        """The ids, of these containers and their labels, that have to go now. `known`: those in use."""
        now = time.monotonic()
        strange = {
            container for container, label in found.items()
            if label.get(NODE) == self._node and container not in known
        }  # fmt: skip
        # Unknown, but only just: somebody is about to start it, or to bury it.
        self._strange = {container: self._strange.get(container, now) for container in strange}
        owed = dict(self._owed)
        alone = [
            each for each in strange
            if each in owed or not names[each].isdisjoint(owed) or now - self._strange[each] >= LITTER
        ]  # fmt: skip
        for each, since in owed.items():
            if now - since >= LITTER and each not in found:
                self._owed.pop(each, None)
        return alone
