"""What a set of processes has used of the cores: unlike a rate, it says much the same on a busy machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tests.system.process import children

_TICK = os.sysconf("SC_CLK_TCK")


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and their living descendants."""
    found, todo = [], list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children(pid)
    return found


def seconds(roots: Iterable[int]) -> float:
    """CPU seconds of these processes and their descendants so far, also of those that have ended and were waited for.

    To the 10 ms of the kernel's ticks. A process that is gone counts as nothing.
    """
    total = 0
    for pid in tree(roots):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])  # its own, user and system; its dead children's
    return total / _TICK
