"""Finds what handlers that were child processes have left running outside of their process groups (on Linux only)."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tasks_app.logs import harmless

#: The variable that a handler has in its environment, with a value of its own, and that its processes inherit.
VARIABLE = "TASKDAEMON_CHILD"
MAX_COMMAND_CHARS = 100


class Running(NamedTuple):
    """A process and its command line."""

    pid: int
    group: int
    command: str

    def __str__(self) -> str:
        return f"{self.pid} ({self.command})"


_lock = threading.Lock()
#: The last look at all processes: when it began (monotonic clock), and those with the variable, by its value.
_looked_at, _found = float("-inf"), dict[str, list[Running]]()


def left_running(value: str, group: int) -> Sequence[Running]:
    """The processes that have this value of the variable and are not in this group, which was killed before.

    A process that has cleared its environment is not found. Takes some milliseconds; threads that ask together look
    once.
    """
    global _looked_at, _found
    asked_at = time.monotonic()
    with _lock:
        if _looked_at < asked_at:
            _looked_at, _found = time.monotonic(), _look()
        return [process for process in _found.get(value, ()) if process.group != group]


def _look() -> dict[str, list[Running]]:
    beginning, found = f"{VARIABLE}=".encode(), defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes()
            if beginning not in environment:
                continue
            pid, values = int(folder.name), [each for each in environment.split(b"\0") if each.startswith(beginning)]
            words = (folder / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
            process = Running(pid, os.getpgid(pid), harmless(words)[:MAX_COMMAND_CHARS])
            for each in values:
                found[each[len(beginning) :].decode(errors="replace")].append(process)
    return found
