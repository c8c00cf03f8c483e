"""What the slots of one handler share: what they have learned of its containers, and what a slot asks of its pool.

How long containers take to start, whether they start at all, and how carefully they are treated.
"""

from __future__ import annotations

import math
import threading
import time
from typing import NamedTuple, Protocol

from tasks_app.runner.backoff import Backoff
from tasks_app.runner.call import CallResult
from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import DeathReason
from tasks_app.runner.revision import Revision

#: How much longer than expected a start may take.
MARGIN_SECONDS = 1.0
#: A line lay waiting for its container's start if it waited for this share of the time from that start. Otherwise the
#: handler may have been ready long before.
MIN_SHARE_WAITED = 0.2
#: The pause after a container that did not start; it doubles with each further one in a row ...
FIRST_PAUSE_SECONDS = 0.5
#: ... up to this.
MAX_START_PAUSE_SECONDS = 60.0
PROBE_AFTER_FAILURES = 2
#: How long a container is watched after its reply when a watch is due.
WATCH_SECONDS = 0.2
#: How long all containers of a handler are watched after one of them misbehaved.
CAUTION_SECONDS = 600.0


class StartTimes:
    """How long the containers of one handler take to start on this node, in seconds, and when one has last answered.

    A start lasts until the handler reads a line that lay waiting; if it is not known when it reads, until its first
    reply. Written by the threads that the slots run in, each time by one assignment.
    """

    __slots__ = ("_at_most", "_longest", "answered_at", "start_timeout")

    def __init__(self, start_timeout: float) -> None:
        self.start_timeout = start_timeout
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
            return self.start_timeout
        return min(self.start_timeout, 2 * expected + MARGIN_SECONDS)

    def end(self, started_at: float, read_at: float) -> float:
        """The moment by which a container's start must be over, once its handler has read the first line.

        No limit of its own until one has answered.
        """
        if self.answered_at is None:
            return math.inf
        return max(read_at, started_at + 2 * (self._longest or 0.0)) + MARGIN_SECONDS

    def answered(self, started_at: float, sent_at: float, timeout: float, at: float, unseen: bool = False) -> None:
        """A container has answered its first call, with this `timeout`, at this moment. `unseen`: it was not seen when
        it read its line."""
        if unseen:
            self.seen(started_at, sent_at, at)
        # A handler may load what it needs only after it has read its first line.
        if at - timeout > sent_at:
            self._longest = max(at - timeout - started_at, self._longest or 0.0)


class Problem(NamedTuple):
    """Why a slot has no container, in a `sentence` that names the handler.

    `engine`: why its engine cannot be reached, if that is the cause; else None.
    """

    sentence: str
    engine: str | None = None


class Probing:
    """Whether the containers of one handler start on this node, and what the pool does if they do not. Thread-safe.

    A container has not started if it ends by itself before its first answer, unless it is known to have read from its
    line. After PROBE_AFTER_FAILURES such ends in a row the pool probes: of all containers that have not answered, only
    one at a time is started and gets a task, and each only after the pause. Containers that have answered go on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Written under the lock, by the threads that the slots run in.
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, MAX_START_PAUSE_SECONDS)
        self._failed_at = 0.0
        #: The pause was ended before its time.
        self._pause_ended = False
        #: True while the pool probes. Any thread reads it, and `problem`.
        self.active = False
        #: Why the last container did not start; None while they do.
        self.problem: Problem | None = None

    def failed(self, started_at: float, problem: str) -> None:
        """A container that was started at this moment (monotonic clock) has ended and had not started."""
        with self._lock:
            now = time.monotonic()
            # Of several that were started before it began to probe, only the last one in a row counts.
            if not self.active or started_at >= self._failed_at:
                self._failed_at = now
                self._pause_ended = False
                self._backoff.failed()
            self.active = self._backoff.failures >= PROBE_AFTER_FAILURES
            probes = f"; one container at a time is tried, with pauses of up to {MAX_START_PAUSE_SECONDS:g} s"
            self.problem = Problem(problem + (probes if self.active else ""))

    def succeeded(self) -> None:
        """A container has started: it has answered its first call, say."""
        if self._backoff.failures:
            with self._lock:
                self._backoff.succeeded()
                self.active, self.problem = False, None

    def is_older(self, started_at: float) -> bool:
        """True if there were failures, all of them before a container was started at this moment."""
        return self._backoff.failures > 0 and started_at >= self._failed_at

    def end_pause(self) -> None:
        """The next container may be tried at once."""
        self._pause_ended = True

    def delay(self) -> float:
        """Seconds until the pause is over; 0 if it is."""
        pause = 0.0 if self._pause_ended else self._backoff.pause
        return max(self._failed_at + pause - time.monotonic(), 0.0) if pause else 0.0


class Caution:
    """Decides how carefully the containers of one handler are treated, by what any of them has done. Thread-safe.

    A container that writes again or exits while it is watched is replaced, and no task loses an attempt.
    """

    __slots__ = ("may_forget", "until")

    def __init__(self) -> None:
        #: A container that had named its tasks has sent a reply without a `task_id`: see Dialog.send.
        self.may_forget = False
        #: The end of the watches; 0.0: never needed. Written by the threads that the slots run in; the latest counts.
        self.until = 0.0

    def misbehaved(self) -> None:
        """A container wrote or exited after its reply."""
        self.until = time.monotonic() + CAUTION_SECONDS

    def watch_seconds(self) -> float:
        """How many seconds to watch a container after its reply; 0.0: not at all."""
        return WATCH_SECONDS if self.until and time.monotonic() < self.until else 0.0


class SlotOwner(Protocol):
    """What a slot asks of its pool, which knows slots by their numbers."""

    #: The handler's.
    name: str
    #: The handler, and what its next container is started from. Others after a reload, as the next two.
    revision: Revision
    probing: Probing
    start_times: StartTimes
    caution: Caution

    @property
    def is_untried(self) -> bool:
        """True if no container of the revision has answered yet, and others serve meanwhile."""

    def start_delay(self, number: int) -> float:
        """Seconds for which the slot must not start a container; it asks again then.

        0: it starts one now, and calls `started` or `not_started`.
        """

    def mark_ready(self, number: int) -> None:
        """The slot can be taken. Called under the slot's lock."""

    def withdraw(self, number: int) -> None:
        """The slot cannot be taken now; perhaps it could not before either. Called under the slot's lock."""

    def may_recycle(self, number: int) -> bool:
        """True if the slot may replace its container because of its age. Only one slot at a time may.

        If True, the slot is withdrawn until its next container is ready. Called under the slot's lock.
        """

    def may_roll(self, number: int) -> bool:
        """True if the slot may replace its container, which is of another revision: see Roll. Under the slot's lock."""

    def may_begin(self, waited: float) -> bool | None:
        """Whether a handler may get the end of a line, without which it cannot begin; None if that is not known yet.

        `waited`: for how many seconds it has waited for this answer. Called under the slot's lock.
        """

    def started(self, number: int, dialog: Dialog) -> None:
        """The slot has a new container."""

    def not_started(self, number: int) -> None:
        """The slot could not start one."""

    def died(self, reason: DeathReason) -> None:
        """A container ended."""

    def finished(self, result: CallResult) -> None:
        """A call is over. Never raises."""

    def freed(self) -> None:
        """The slot is ready again. Never raises."""
