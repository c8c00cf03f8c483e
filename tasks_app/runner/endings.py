"""The words for how an attempt ended, and for the end of a call without a valid reply.

A call ends by a reply (see wire) or with its container. So what ended the container decides how the attempt ended:
`DeathReason` is the cause, `OutcomeKind` the word for it that is stored in the attempt's row, and `NoReply` has both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from tasks_app.logs import harmless

#: In the error of a crash, between the sentence and the last line of stderr.
_STDERR_MARK = " | stderr: "
#: How much of that line is kept.
MAX_STDERR_CHARS = 200
#: The longest grace that a draining node gives. What stops the node kills it some seconds after its drain time.
DRAIN_GRACE_SECONDS = 5.0


class OutcomeKind(StrEnum):
    """How an attempt ended. The values are stored in its row."""

    SUCCESS = "success"
    #: The handler replied that it failed.
    ERROR = "error"
    #: No reply within the call's time. The container was killed.
    TIMEOUT = "timeout"
    #: The container ended before it replied.
    CRASH = "crash"
    #: The container ended because it, or one of its processes, reached the memory limit.
    OOM = "oom"
    #: The reply breaks the protocol. The container was killed.
    BAD_REPLY = "bad_reply"
    #: Its node died. No call ends so.
    WORKER_LOST = "worker_lost"
    #: It spends no retry: it is known that the handler read nothing, it had not the whole line when it wrote, or the
    #: call was stopped on request.
    RELEASED = "released"
    #: A caller has ended the task. No call ends so.
    CANCELLED = "cancelled"


class DeathReason(StrEnum):
    """Why a slot gave up its container. The values are labels of metrics."""

    #: It ended by itself, or closed its stdin or stdout.
    EXIT = "exit"
    #: It wrote to stdout when no reply was due.
    UNASKED_OUTPUT = "chatter"
    BAD_REPLY = "bad_reply"
    TIMEOUT = "timeout"
    KILLED = "killed"
    OOM = "oom"
    #: It was old, had had its number of tasks, or a reload has replaced it or removed its slot.
    RECYCLED = "recycled"
    #: It replied without a `task_id`, and cannot tell when it reads: a second reply would pass for the next task's.
    NO_TASK_ID = "no_task_id"
    #: It left processes behind after a reply.
    LEFTOVER = "leftover"
    #: The slot was closed.
    CLOSED = "closed"
    #: The runner had an internal error.
    INTERNAL_ERROR = "fault"


def with_stderr(sentence: str, line: str) -> str:
    """The error of a crash: the sentence, and the beginning of a line of stderr, with control characters as text."""
    return f"{sentence}{_STDERR_MARK}{harmless(line)[:MAX_STDERR_CHARS]}"


def split_stderr(error: str) -> tuple[str, str]:
    """The sentence of a crash's error, and its line of stderr or a blank."""
    sentence, _, line = error.partition(_STDERR_MARK)
    return sentence, line


class Undecided(Enum):
    """Stands for a reason that only a thread that may block can find out."""

    UNDECIDED = "undecided"


UNDECIDED = Undecided.UNDECIDED

#: What a death means for a call that had no valid reply. By any other, no call ends.
_KINDS: Mapping[DeathReason | None, OutcomeKind] = {
    DeathReason.EXIT: OutcomeKind.CRASH,
    DeathReason.UNASKED_OUTPUT: OutcomeKind.BAD_REPLY,
    DeathReason.BAD_REPLY: OutcomeKind.BAD_REPLY,
    DeathReason.TIMEOUT: OutcomeKind.TIMEOUT,
    DeathReason.KILLED: OutcomeKind.RELEASED,
    DeathReason.OOM: OutcomeKind.OOM,
    DeathReason.INTERNAL_ERROR: OutcomeKind.CRASH,
}


class KillReason(Enum):
    """Why a call is stopped on request. The value is the error that the task's attempt gets."""

    #: A caller has ended the task.
    CANCELLED = "cancelled or deleted"
    #: Another verb has ended the attempt.
    TAKEN_AWAY = "taken away"
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


@dataclass(frozen=True, slots=True)
class NoReply:
    """How a call without a valid reply ended. The container is dead. `error` is for the attempt's row.

    `death`: what ended the container; None: it was lost before a byte was sent. `begun`: False if it is known that the
    handler read nothing, or if it had not the whole line when it wrote. `unread`: not even the beginning of the line
    was read, or its end was held back. `kill`: the request that stopped the call. `answered_at`: if the call was not
    begun, when a container of the handler last answered on this node, on the monotonic clock.
    """

    death: DeathReason | None
    error: str
    begun: bool = True
    unread: bool = False
    kill: KillReason | None = None
    answered_at: float | None = None

    @property
    def kind(self) -> OutcomeKind:
        return _KINDS[self.death] if self.begun else OutcomeKind.RELEASED

    @property
    def fault(self) -> OutcomeKind | None:
        """What the handler did wrong, if it has not begun: the attempt's kind after too many of these in a row."""
        return None if self.begun else _KINDS.get(self.death)
