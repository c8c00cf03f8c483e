"""A call, its result, and what the result says of a call without a reply at its deadline, for the handler's author."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tasks_app.runner.errors import CallFailed, Unavailable
from tasks_app.runner.live_output import LiveOutput
from tasks_app.runner.wire import Failure, Success, progress_of

Outcome = Success | Failure | CallFailed | Unavailable

MAX_SHOWN_CHARS = 200
#: The only words that the errors of a container's first call and of its later ones do not have in common.
START_REST = re.compile(r" \(and [\d.]+ s left for the start of its container\)")


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


def no_reply(timeout: float, start_rest: float, stdout: str | None) -> str:
    """The `error` of an attempt at its deadline, seconds after its line was sent.

    `start_rest`: how much later than `timeout` that was, because the container was new (see START_REST). `stdout`: what
    the handler wrote; None if it never read its line.
    """
    rest = f" (and {start_rest:.1f} s left for the start of its container)" if start_rest >= 0.05 else ""
    start = f"no reply within {timeout:g} s{rest}"
    if stdout is None:
        return f"{start}: the handler has not read its line"
    written = [line for line in stdout.splitlines() if line.strip()]
    lines = [line for line in written if progress_of(line.encode()) is None]
    if written and not lines:
        return f"{start}: the handler's last progress was {_shown(written[-1])}"
    if not lines:
        return f"{start} and nothing on stdout: is stdout flushed after each line, and stdin read line by line?"
    if not stdout.endswith("\n"):
        return f"{start}: stdout has no line end after {_shown(lines[-1])}"
    line = next((line for line in reversed(lines) if line.lstrip("\ufeff \t")[:1] in ("{", "[")), lines[-1])
    count = "1 line that is not a reply" if len(lines) == 1 else f"{len(lines)} lines that are not a reply"
    return f"{start}: the handler wrote {count}: {_shown(line)} ({_fault(line)})"


def _shown(line: str) -> str:
    return line[:MAX_SHOWN_CHARS] + " ..." if len(line) > MAX_SHOWN_CHARS else line


def _fault(line: str) -> str:
    """Why the line is not a reply."""
    if line.startswith("\ufeff"):
        return "it begins with a byte order mark"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        text = line.strip()
        if text in ("{", "["):
            return "a reply is one line: print it without indentation"
        return "JSON strings have double quotes" if text.startswith("{'") else "it is not JSON"
    if not isinstance(value, dict):
        return "a reply is a JSON object"
    if "status" not in value:
        return "it has no `status`"
    return f'its `status` is {_shown(json.dumps(value["status"]))}; it must be "success" or "error"'
