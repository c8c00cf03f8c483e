"""When faults may have delayed something."""

from __future__ import annotations

from collections.abc import Iterable

#: From the end of a fault until nothing is late because of it: a killed process starts, a node connects again.
RECOVERY_SECONDS = 6.0
#: The same with containers, which may outlive their node until its lease is over.
LEASE_SECONDS = 35.0

#: From the end of a fault until a node has found the containers that it has ended.
LEFT_BEHIND_SECONDS = 3.0

#: Faults that may delay the answer to a wait; what becomes of a pending task; the end of a handler. A broker may not.
OF_WAITS = ("web", "postgres", "sqlite")
OF_TASKS = ("node", "postgres", "sqlite")
OF_HANDLERS = (*OF_TASKS, "engine", "handler", "container")
OF_DATABASE = ("postgres", "sqlite")


class Outages:
    """`faults`: the name of each, and from when to when it lasted; `victims`: whom it hit. `slowness`: how much slower
    than usual all was."""

    def __init__(
        self,
        faults: Iterable[tuple[str, float, float]] = (),
        recovery: float = RECOVERY_SECONDS,
        slowness: float = 1.0,
        victims: Iterable[tuple[str, float, float]] = (),
    ) -> None:
        self.slowness = slowness
        self._victims = [(name, begun, over + recovery) for name, begun, over in victims]
        self._faults = list(faults)
        self._windows: dict[tuple[str, ...], list[tuple[float, float]]] = {
            kinds: _merged((begun, over + recovery) for name, begun, over in self._faults if name.startswith(kinds))
            for kinds in (OF_WAITS, OF_TASKS, OF_HANDLERS, OF_DATABASE)
        }

    def within(self, kinds: tuple[str, ...], begun: float, over: float) -> float:
        """Seconds of faults of these kinds between two moments."""
        return sum(max(0.0, min(over, end) - max(begun, start)) for start, end in self._windows[kinds])

    def hit(self, kinds: tuple[str, ...], begun: float, over: float) -> bool:
        """Whether one of these faults, or what it left behind, was there at a moment between these two."""
        after = LEFT_BEHIND_SECONDS * self.slowness
        return any(
            name.startswith(kinds) and start <= over and begun <= end + after for name, start, end in self._faults
        )

    def well(self, victim: str, begun: float, over: float) -> float:
        """The longest time between two moments, in seconds, in which no fault hit somebody."""
        longest, since = 0.0, begun
        for start, end in _merged((start, end) for name, start, end in self._victims if name == victim):
            if end > since and start < over:
                longest, since = max(longest, start - since), end
        return max(longest, over - since)

    def late(self, kinds: tuple[str, ...], begun: float, over: float, allowed: float) -> bool:
        """Whether it took longer from `begun` to `over` than is allowed without the faults in between."""
        return over - begun > allowed * self.slowness + self.within(kinds, begun, over)


def _merged(windows: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for begun, over in sorted(windows):
        if found and begun <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], over)
        else:
            found.append((begun, over))
    return found
