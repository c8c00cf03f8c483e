from __future__ import annotations

import time

WATCH_SECONDS = 0.2
"""How long a container is watched after its reply when a watch is due."""
CAUTION_SECONDS = 600.0
"""How long all containers of a handler are watched after one of them misbehaved."""


class Caution:
    """Decides how carefully the containers of one handler are treated, by what any of them has done. Thread-safe.

    A container that writes again or exits while it is watched is replaced, and no task loses an attempt.
    """

    __slots__ = ("_until", "may_forget")

    def __init__(self) -> None:
        self.may_forget = False
        """A container that had named its tasks has sent a reply without a `task_id`: see Session.send."""
        #: Written by the threads that the slots run in; the latest counts.
        self._until = 0.0

    def misbehaved(self) -> None:
        """A container wrote or exited after its reply."""
        self._until = time.monotonic() + CAUTION_SECONDS

    def watch_seconds(self) -> float:
        """How many seconds to watch a container after its reply; 0.0: not at all."""
        return WATCH_SECONDS if self._until and time.monotonic() < self._until else 0.0
