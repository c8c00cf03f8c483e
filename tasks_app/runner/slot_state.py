"""The states of a slot, and its transitions. Each state has those that it allows; any other is an AttributeError.

    Absent --started--> Watched --trusted--> Ready --sent--> Busy --replied--> Ready
                                                             Busy --watched--> Watched
                                                             Busy --inspected--> Inspected --replied--> Ready
                                                                                 Inspected --watched--> Watched
                                                             Busy --stopping--> Stopping
                                                             Busy --began--> Busy

From every state with a container, `evicted` leads back to Absent. A state is a value: its fields are final (a frozen
dataclass would take four times as long to make), and the slot replaces it under its lock, so whoever has read one sees
fields that belong together. Moments are on the monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Final

from tasks_app.runner.call import Call
from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import DeathReason, KillReason, NoReply
from tasks_app.runner.wire import Failure, Success


@dataclass(slots=True)
class Absent:
    """No container: it is being started, or the last one is being destroyed."""

    dialog: ClassVar[None] = None

    @property
    def due(self) -> float:
        """When the slot must be checked if nothing happens before."""
        return math.inf

    def started(self, dialog: Dialog, until: float) -> Watched:
        """A container was started. It is watched until the end of its probation."""
        return Watched(dialog, until)


@dataclass(slots=True)
class _WithContainer:
    dialog: Final[Dialog]

    @property
    def due(self) -> float:
        return math.inf

    def evicted(self) -> Absent:
        """Its container must not get another call."""
        return Absent()


@dataclass(slots=True)
class Watched(_WithContainer):
    """A container that gets no call before `until`: a new one in its probation, or one after a reply (see Caution)."""

    until: Final[float]

    @property
    def due(self) -> float:
        return self.until

    def trusted(self) -> Ready:
        """The time is over, and the container has neither written nor ended."""
        return Ready(self.dialog)


@dataclass(slots=True)
class Ready(_WithContainer):
    """A container that waits for a call."""

    def sent(self, call: Call, at: float, deadline: float) -> Busy:
        """A call was sent, or its beginning was."""
        return Busy(self.dialog, call, at, deadline)


@dataclass(slots=True)
class Busy(_WithContainer):
    """A container with a call. `kill`: why it is to be killed, unless the reply comes first."""

    call: Final[Call]
    sent_at: Final[float]
    deadline: Final[float]
    kill: Final[KillReason | None] = None

    @property
    def due(self) -> float:
        return self.deadline

    def began(self, deadline: float) -> Busy:
        """The handler has read the container's first line: the call needs no more time for the start."""
        return replace(self, deadline=deadline)

    def killed(self, reason: KillReason, at: float) -> Busy:
        """A kill was requested. One that gives less time is kept: the task may run elsewhere."""
        if self.kill is not None and self.kill.max_grace < reason.max_grace:
            return self
        return replace(self, kill=reason)

    def extended(self, seconds: float) -> Busy:
        """Its handler could not begin for so long."""
        return replace(self, deadline=self.deadline + seconds)

    def stopping(self, outcome: NoReply, reason: DeathReason, at: float, until: float) -> Stopping:
        """Its call is over without a reply, and its handler has time to clean up."""
        return Stopping(self.dialog, self.call, self.sent_at, outcome, reason, at, until)

    def inspected(self, reply: Success | Failure) -> Inspected:
        """It has replied, but only a thread that may block can find out whether its container may stay."""
        return Inspected(self.dialog, self.call, self.sent_at, reply)

    def replied(self) -> Ready:
        """Its call is over, and the container waits for the next one."""
        return Ready(self.dialog)

    def watched(self, until: float) -> Watched:
        """Its call is over, and the container may write a second reply."""
        return Watched(self.dialog, until)


@dataclass(slots=True)
class Inspected(_WithContainer):
    """A container that has replied, and that the reactor does not serve: the slot's thread looks for leftovers."""

    call: Final[Call]
    sent_at: Final[float]
    reply: Final[Success | Failure]

    def killed(self, reason: KillReason, at: float) -> Inspected:
        """A kill was requested too late."""
        return self

    def replied(self) -> Ready:
        return Ready(self.dialog)

    def watched(self, until: float) -> Watched:
        return Watched(self.dialog, until)


@dataclass(slots=True)
class Stopping(_WithContainer):
    """A container whose call is over without a reply, for `reason`. Its handler gets SIGTERM; at `until` it is killed.

    `at`: when the call was over. No reply counts any more.
    """

    call: Final[Call]
    sent_at: Final[float]
    outcome: Final[NoReply]
    reason: Final[DeathReason]
    at: Final[float]
    until: Final[float]

    @property
    def due(self) -> float:
        return self.until

    def killed(self, reason: KillReason, at: float) -> Stopping:
        """Another kill was requested: it may shorten the grace."""
        return replace(self, until=min(self.until, at + reason.max_grace))


#: The reactor serves the container.
Served = Watched | Ready | Busy | Stopping
#: There is a call, whose result has not been reported yet.
Called = Busy | Inspected | Stopping
SlotState = Absent | Watched | Ready | Busy | Inspected | Stopping


class Phase(StrEnum):
    """A slot's state in one word."""

    STARTING = "starting"
    #: After a reply.
    WATCHED = "watched"
    FREE = "free"
    #: Taken from the pool, and not called yet.
    TAKEN = "taken"
    BUSY = "busy"

    @classmethod
    def of(cls, state: SlotState, taken: bool) -> Phase:
        """The phase of a slot in this state. `taken`: it was taken from its pool."""
        match state:
            case Busy() | Inspected() | Stopping():
                return cls.BUSY
            case Ready():
                return cls.TAKEN if taken else cls.FREE
            case Watched(dialog=dialog) if dialog.replied:
                return cls.WATCHED
            case _:
                return cls.STARTING
