from __future__ import annotations

import math

#: How much longer than expected a start may take.
MARGIN_SECONDS = 1.0
#: A line lay waiting for its container's start if it waited for this share of the time from that start. Otherwise the
#: handler may have been ready long before.
MIN_SHARE_WAITED = 0.2


class StartTimes:
    """How long the containers of one handler take to start on this node, in seconds, and when one has last answered.

    A start lasts until the handler reads a line that lay waiting; if it is not known when it reads, until its first
    reply. Written by the threads that the slots run in, each time by one assignment.
    """

    __slots__ = ("_at_most", "_longest", "_start_timeout", "answered_at")

    def __init__(self, start_timeout: float) -> None:
        self._start_timeout = start_timeout
        self._longest: float | None = None
        #: The shortest time within which a handler was ready whose start was not seen.
        self._at_most: float | None = None
        #: On the monotonic clock; None: never.
        self.answered_at: float | None = None

    def seen(self, started_at: float, sent_at: float, ready_at: float) -> None:
        """A container's first line was sent, and its handler has read it (or replied), at these moments."""
        seconds = ready_at - started_at
        if ready_at - sent_at >= MIN_SHARE_WAITED * seconds:
            self._longest = max(seconds, self._longest or 0.0)
        else:
            self.within(seconds)

    def within(self, seconds: float) -> None:
        """A container's start, which was not seen, took no longer than this."""
        self._at_most = min(seconds, self._at_most or seconds)

    def limit(self) -> float:
        """How long a container's start may take. What is left of it is added to the `timeout` of its first call."""
        expected = self._at_most if self._longest is None else self._longest
        if self.answered_at is None or expected is None:
            return self._start_timeout
        return min(self._start_timeout, 2 * expected + MARGIN_SECONDS)

    def end(self, started_at: float, read_at: float) -> float:
        """The moment by which a container's start must be over, once its handler has read the first line.

        No limit of its own until one has answered.
        """
        if self.answered_at is None:
            return math.inf
        return max(read_at, started_at + 2 * (self._longest or 0.0)) + MARGIN_SECONDS

    def answered(self, started_at: float, sent_at: float, timeout: float, at: float) -> None:
        """A container has answered its first call, with this `timeout`, at this moment."""
        # A handler may load what it needs only after it has read its first line.
        if at - timeout > sent_at:
            self._longest = max(at - timeout - started_at, self._longest or 0.0)
