"""When faults may have delayed anything."""

from __future__ import annotations

from collections.abc import Iterable

#: From the end of a fault until nothing is late because of it: a killed process starts, a node connects again.
RECOVERY_SECONDS = 6.0
#: The same with containers, which may outlive their node until its lease is over.
LEASE_SECONDS = 35.0


class Outages:
    """`windows`: from when to when each fault lasted. `slowness`: how much slower than usual the machine was."""

    def __init__(
        self, windows: Iterable[tuple[float, float]] = (), recovery: float = RECOVERY_SECONDS, slowness: float = 1.0
    ) -> None:
        self._slowness = slowness
        self._merged: list[tuple[float, float]] = []
        for begun, over in sorted(windows):
            over += recovery
            if self._merged and begun <= self._merged[-1][1]:
                before, end = self._merged[-1]
                self._merged[-1] = before, max(end, over)
            else:
                self._merged.append((begun, over))

    def within(self, begun: float, over: float) -> float:
        """Seconds of faults between two moments."""
        return sum(max(0.0, min(over, end) - max(begun, start)) for start, end in self._merged)

    def late(self, begun: float, over: float, allowed: float) -> bool:
        """Whether it took longer from `begun` to `over` than is allowed without the faults in between."""
        return over - begun > allowed * self._slowness + self.within(begun, over)
