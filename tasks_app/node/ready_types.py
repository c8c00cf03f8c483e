"""Types that may have ready tasks: marked by any thread, taken by the dispatcher."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Set


class ReadyTypes:
    """Notifications, results whose tasks go back to pending, and polls mark types here, each in its own thread."""

    def __init__(self, types: Collection[str], interrupt: Callable[[], None]) -> None:
        """`types`: those that this node serves. `interrupt`: ends the dispatcher's wait."""
        self._types, self._interrupt = types, interrupt
        #: Any thread appends; only the dispatcher's removes.
        self._marked: deque[str] = deque()

    def mark(self, name: str) -> None:
        """Tasks of this type may be ready. Does nothing if this node does not serve the type."""
        if name in self._types:
            self._marked.append(name)
            self._interrupt()

    def take(self) -> Set[str]:
        """The types marked since the last call. For the dispatcher's thread."""
        taken = set()
        while self._marked:
            taken.add(self._marked.popleft())
        return taken
