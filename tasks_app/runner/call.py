from __future__ import annotations

from typing import Any, NamedTuple

from tasks_app.runner.errors import CallFailed, Unavailable
from tasks_app.runner.wire import Failure, Success

Outcome = Success | Failure | CallFailed | Unavailable


class Call(NamedTuple):
    """One line for a handler (see wire.request_line), and how many seconds it has to answer.

    `token` is handed back untouched, and compared with == by `Slot.kill`.
    """

    line: bytes
    timeout: float
    token: Any = None


class Done(NamedTuple):
    """What a call came to.

    `container` is "" and nothing was sent if the outcome is Unavailable. `exit_code` is the container's
    own (128 + n after signal n), None if it lives or we killed it. `seconds` are from the send to the
    outcome. The tails are what the handler wrote during the call besides its reply, at most 64 KiB each.
    `image` is the id of the container's image, "" if it has none. `oom`: its engine said that it, or a
    process in it, was killed for memory.
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
