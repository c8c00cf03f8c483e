from __future__ import annotations

from enum import Enum, StrEnum


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
