from __future__ import annotations

from typing import Any, NamedTuple

from tasks_app.runner.errors import CallFailed, Unavailable
from tasks_app.runner.live_output import LiveOutput
from tasks_app.runner.wire import Failure, Success

Outcome = Success | Failure | CallFailed | Unavailable


class Call(NamedTuple):
    """One line for a handler (see wire.request_line), and the seconds that it has to reply.

    `token` comes back unchanged in the result; `Slot.kill` compares it with ==. `task_id` is the line's: a reply that
    names another task is not a reply to this line.
    """

    line: bytes
    timeout: float
    token: Any = None
    task_id: str = ""


class CallResult(NamedTuple):
    """The result of a call.

    Unavailable: nothing was sent, and `container` is "". NotBegun: the line was sent in part, or was never read.
    `exit_code` is the container's own (128 + n after signal n), None if it is alive or the runner killed it. `seconds`
    count from the send to the outcome, `stopping` from there to the end of a clean-up; 0 without one. The tails hold
    what the handler wrote during the call besides its reply, at most 64 KiB each. `image` is the id of the container's
    image, "" without one. `oom`: the engine reports that the container, or a process in it, was killed for memory.
    `live`: the call's output, if it was followed.
    """

    call: Call
    outcome: Outcome
    container: str
    exit_code: int | None
    seconds: float
    slot: int
    stdout_tail: str = ""
    stderr_tail: str = ""
    image: str = ""
    oom: bool = False
    stopping: float = 0.0
    live: LiveOutput | None = None
