"""What is said of a call without a reply: while it runs, and when its time is over."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from tasks_app.runner.wire import progress_of

#: A handler that has written something that is no reply, and then nothing for so long, may take it for its reply.
SILENCE_SECONDS = 2.0
#: How much of a line is quoted.
MAX_SHOWN_CHARS = 200
#: With one of these alone on a line indented JSON begins.
_OPENINGS = ("{", "[")
#: How Python's debugger asks for a command, and says where it stands.
_PROMPTS = ("(Pdb", "ipdb>")
_STANDS = re.compile(r"> (.+\(\d+\).*)")
#: How many lines of stderr are looked at for a reply, the last ones.
MAX_STDERR_LINES = 20


class Fault(NamedTuple):
    """What keeps the output from being a reply: `why`, of the line `shown`."""

    shown: str
    why: str


def so_far(stdout: str) -> Fault | None:
    """Why the end of what a running call has written is no reply, if it seems to be meant as one; else None.

    A line that is no JSON and has its end is an ordinary line of the log.
    """
    lines = [line for line in stdout.splitlines() if line.strip()]
    if not lines or progress_of(lines[-1].encode()) is not None:
        return None
    if lines[-1].startswith(_PROMPTS):
        return Fault(_shown(lines[-1]), "a debugger waits for a command: take `breakpoint()` out of the handler")
    found = _meant(lines)
    if _lacks_line_end(stdout, found):
        return Fault(_shown(lines[-1]), "it has no line end: print one after the reply, and flush stdout")
    return None if found is None else Fault(_shown(found), _fault(found))


def at_time_out(timeout: float, start_rest: float, stdout: str | None, at_work: bool | None, stderr: str = "") -> str:
    """The `error` of an attempt at its deadline, seconds after its line was sent.

    `start_rest`: how much later than `timeout` that was, because the container was new. `stdout`, `stderr`: what the
    handler wrote; None if it never read its line. `at_work`: see Container.
    """
    rest = f" (plus {start_rest:.1f} s of start_timeout: its container was new)" if start_rest >= 0.05 else ""
    start = f"no reply within {timeout:g} s{rest}"
    if stdout is None:
        return f"{start}: the handler has not read its line"
    written = [line for line in stdout.splitlines() if line.strip()]
    lines = [line for line in written if progress_of(line.encode()) is None]
    if written and not lines:
        return f"{start}: the handler's last progress was {_shown(written[-1])}"
    if lines and lines[-1].startswith(_PROMPTS):
        stands = next(filter(None, map(_STANDS.fullmatch, reversed(lines))), None)
        where = f" at {_shown(stands[1])}" if stands else ""
        return (
            f"{start}: `breakpoint()` stopped the handler{where}, and its debugger (Pdb) waits for a command on stdin; "
            "take it out, and debug in a test"
        )
    found = _meant(lines)
    if found is None and has_reply(stderr):
        return f"{start}: the handler wrote its reply to stderr; write it to stdout, and flush stdout"
    if not lines:
        return f"{start} and nothing on stdout{_SILENT[at_work]}"
    if _lacks_line_end(stdout, found):
        return f"{start}: stdout has no line end after {_shown(lines[-1])}; print one, and flush stdout"
    line = found or lines[-1]
    count = "1 line that is not a reply" if len(lines) == 1 else f"{len(lines)} lines that are not a reply"
    return f"{start}: the handler wrote {count}: {_shown(line)} ({_fault(line)})"


#: Why there may be nothing on stdout, by what the handler does.
_SILENT = {
    True: ": the handler was still at work; raise its `timeout`, or let it write to stderr how far it is",
    False: ", and the handler waits for its next line: write the reply before, and flush stdout after it",
    None: ": the handler was still at work, or did not flush its reply; flush stdout, or raise its `timeout`",
}


def has_reply(stderr: str) -> bool:
    """True if a reply stands on a line of its own at the end of stderr, where it does not count."""
    return any(line.startswith("{") and _follows_text(line) for line in stderr.splitlines()[-MAX_STDERR_LINES:])


def _meant(lines: list[str]) -> str | None:
    """The last line that may be meant as a reply, or as the beginning of one."""
    return next((line for line in reversed(lines) if _may_be_meant(line)), None)


def _may_be_meant(line: str) -> bool:
    return line.lstrip("\ufeff \t").startswith(_OPENINGS) or _follows_text(line)


def _follows_text(line: str) -> bool:
    """True if a reply stands at the end of the line, after other text."""
    try:
        value = json.loads(line[line.index("{") :])
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("status") in ("success", "error")


def _lacks_line_end(stdout: str, meant: str | None) -> bool:
    """True if the last line has no end, and that is what is wrong: indented JSON needs more than one."""
    return not stdout.endswith("\n") and (meant is None or meant.strip() not in _OPENINGS)


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
        if text in _OPENINGS:
            return "a reply is one line: print it without indentation"
        if _follows_text(line):
            return (
                "other text stands before the reply on its line: end that text with a line end, or write it to stderr"
            )
        return "JSON strings have double quotes" if text.startswith("{'") else "it is not JSON"
    if not isinstance(value, dict):
        return "a reply is a JSON object"
    if "status" not in value:
        return "it has no `status`"
    return f'its `status` is {_shown(json.dumps(value["status"]))}; it must be "success" or "error"'
