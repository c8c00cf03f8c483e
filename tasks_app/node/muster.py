"""A muster: a claim that could go for some slots waits a moment for those that will be free right after them."""

from __future__ import annotations

import math
import time

from tasks_app.node.patience import Patience

#: Seconds that it waits at most.
MOMENT = 0.0004


class Muster:
    """Used by one thread. On a server a claim costs much the same for one row as for eight."""

    def __init__(self) -> None:
        self._patience = Patience()
        self._first = 0
        self.until = math.inf
        """When the present wait is over, on the monotonic clock; infinite while there is none."""

    def waits(self, free: int, enough: float) -> bool:
        """Whether to wait (on): so many slots are free, and `enough` would be enough."""
        if self.until == math.inf:
            if free >= enough or not self._patience.worth_it():
                return False
            self._first, self.until = free, time.monotonic() + MOMENT
            return True
        if free < enough and time.monotonic() < self.until:
            return True
        self._patience.brought(free - self._first)
        self.until = math.inf
        return False
