"""Processor time of a set of processes. Unlike a rate it is steady on a busy machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from testkit.process import children

_TICK = os.sysconf("SC_CLK_TCK")


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and their descendants."""
    found, todo = [], list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children(pid)
    return found


def seconds(roots: Iterable[int]) -> float:
    """CPU seconds of these processes and their descendants so far, including ended ones that were waited for.

    Resolution: 10 ms, the kernel's tick. A missing process counts as 0.
    """
    total = 0
    for pid in tree(roots):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])  # its own, user and system; its dead children's
    return total / _TICK
