"""What can go wrong with one call: `CallFailed` spent an attempt, `Unavailable` did not."""

from __future__ import annotations

from typing import ClassVar


class RunnerError(Exception):
    """Anything that the runner raises. Its text is one sentence for an operator."""


class Unavailable(RunnerError):
    """Our own trouble, before a byte was sent to a handler: no attempt was spent."""


class NotYet(Unavailable):
    """It is on its way, and nothing is wrong: ask again soon."""


class CallFailed(RunnerError):
    """The handler got the call (or a part of it) and did not answer well: the attempt is spent."""

    kind: ClassVar[str] = "error"


class CallTimeout(CallFailed):
    """No reply within the call's time. The container was killed."""

    kind = "timeout"


class Crashed(CallFailed):
    """The container ended before it replied."""

    kind = "crash"


class OutOfMemory(CallFailed):
    """The container ended because it, or a child of it, met its memory limit."""

    kind = "oom"


class BadReply(CallFailed):
    """The handler's answer breaks the protocol. The container was killed."""

    kind = "bad_reply"


class Killed(CallFailed):
    """We were told to stop the call; its text is the reason that was given."""

    kind = "killed"
