"""Why a call has no reply, and why a container ends.

Of a call: `CallFailed` spends an attempt, `Unavailable` does not.
"""

from __future__ import annotations

import math
from enum import Enum, StrEnum
from typing import ClassVar

DRAIN_GRACE_SECONDS = 5.0
"""The longest grace that a draining node gives. What stops the node kills it some seconds after its drain time."""


class RunnerError(Exception):
    """Base of all errors that the runner raises. The message is one sentence for an operator."""


class Unavailable(RunnerError):
    """The runner could not send a byte to a handler; no attempt is spent."""


class NotYet(Unavailable):
    """What is missing is being fetched; a later try succeeds."""


class EngineUnreachable(Unavailable):
    """The engine cannot be reached or does not answer, whatever the handler. `reason`: the text without a handler."""

    def __init__(self, text: str, reason: str | None = None) -> None:
        super().__init__(text)
        self.reason = reason or text


class EngineSlow(EngineUnreachable):
    """The engine takes longer to create a container than it may; a later try may find it created."""


class NotBegun(Unavailable):
    """The handler never had the whole line, so it cannot have begun; no attempt is spent unless it happens repeatedly.

    `otherwise`: what its attempt counts as after too many of these in a row. `unread`: not even the beginning of the
    line was read. `answered_at`: when a container of the handler last answered on this node, on the monotonic clock.
    """

    def __init__(
        self, text: str, otherwise: type[CallFailed], unread: bool = True, answered_at: float | None = None
    ) -> None:
        super().__init__(text)
        self.otherwise, self.unread, self.answered_at = otherwise, unread, answered_at

    def worded(self, text: str) -> NotBegun:
        """The same with another text."""
        return NotBegun(text, self.otherwise, self.unread, self.answered_at)


class CallFailed(RunnerError):
    """The handler got the call, or part of it, and gave no valid reply; the attempt is spent."""

    kind: ClassVar[str] = "error"


class CallTimeout(CallFailed):
    """No reply within the call's time. The container was killed."""

    kind = "timeout"


class Crashed(CallFailed):
    """The container ended before it replied."""

    kind = "crash"


class OutOfMemory(CallFailed):
    """The container ended because it, or one of its processes, reached the memory limit."""

    kind = "oom"


class BadReply(CallFailed):
    """The reply breaks the protocol. The container was killed."""

    kind = "bad_reply"


class KillReason(Enum):
    """Why a call is stopped on request. The value is the error that the task's attempt gets."""

    CANCELLED = "cancelled or deleted"
    """A caller has ended the task."""
    TAKEN_AWAY = "taken away"
    """Another verb has ended the attempt."""
    LEASE_LOST = "its lease could not be renewed in time: the database was away, or the node stood still"
    DRAINED = "drained"
    ON_HOLD = "its type was paused, or its node drained, before its handler had the whole line"
    HOLD_UNKNOWN = (
        "it could not be read in time whether its type is paused, and its handler did not have the whole line"
    )
    CLOSED = "the node is closing"

    @property
    def max_grace(self) -> float:
        """The most seconds between SIGTERM and the kill; 0: killed at once, since the task may run elsewhere."""
        return {KillReason.CANCELLED: math.inf, KillReason.DRAINED: DRAIN_GRACE_SECONDS}.get(self, 0.0)


class Killed(CallFailed):
    """The call was stopped on request. The container is dead, so its task can be released without spending a retry.

    `unread`: the end of its line was still held back, so the handler cannot have begun.
    """

    kind = "killed"

    def __init__(self, reason: KillReason, unread: bool = False) -> None:
        super().__init__(reason.value)
        self.reason, self.unread = reason, unread


class DeathReason(StrEnum):
    """Why a slot gave up its container. The values are labels of metrics."""

    EXIT = "exit"
    """It ended by itself, or closed its stdin or stdout."""
    CHATTER = "chatter"
    """It wrote to stdout when no reply was due."""
    BAD_REPLY = "bad_reply"
    TIMEOUT = "timeout"
    KILLED = "killed"
    OOM = "oom"
    RECYCLED = "recycled"
    """It was old, or had had its number of tasks."""
    NO_TASK_ID = "no_task_id"
    """It replied without a `task_id`, and cannot tell when it reads: a second reply would pass for the next task's."""
    LEFTOVER = "leftover"
    """It left processes behind after a reply."""
    CLOSED = "closed"
    """The slot was closed."""
    FAULT = "fault"
    """The runner had an internal error."""


class Doubt(Enum):
    """Stands for a reason that only a thread that may block can find out."""

    DOUBT = "doubt"


DOUBT = Doubt.DOUBT
