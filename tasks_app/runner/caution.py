from __future__ import annotations

import time

WATCH_SECONDS = 0.2
"""How long a container is watched after its reply when a watch is due."""
WATCH_EVERY_REPLIES = 64
"""A container that cannot tell when its handler reads is watched after its first, second, fourth ... reply, and after
every multiple of this number."""
CAUTION_SECONDS = 600.0
"""How long all containers of a handler are watched after one of them misbehaved."""


class Caution:
    """Decides whether the containers of one handler are watched after their replies. Thread-safe.

    A container that writes again or exits during its watch is replaced, and no task loses an attempt. Over Docker's
    attach the watch is the only protection against a second reply that would be taken for the next task's: a handler
    that replies twice from the start is caught at its first reply, one that begins to later after WATCH_EVERY_REPLIES
    tasks at most.
    """

    __slots__ = ("_until",)

    def __init__(self) -> None:
        #: Written by the threads that the slots run in; the latest counts.
        self._until = 0.0

    def misbehaved(self) -> None:
        """A container wrote or exited after its reply."""
        self._until = time.monotonic() + CAUTION_SECONDS

    def watch_seconds(self, blind_replies: int) -> float:
        """How many seconds to watch a container after its reply; 0.0: not at all.

        `blind_replies`: how many replies the container has given without telling when its handler reads; 0 if it tells.
        """
        due = blind_replies and (blind_replies & (blind_replies - 1) == 0 or blind_replies % WATCH_EVERY_REPLIES == 0)
        return WATCH_SECONDS if due or (self._until and time.monotonic() < self._until) else 0.0
