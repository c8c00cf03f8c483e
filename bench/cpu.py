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
    # Its own, user and system; its dead children's.
    return sum(_ticks(pid, slice(11, 15)) for pid in tree(roots)) / _TICK


def own_seconds(pids: Iterable[int]) -> float:
    """The same of these processes alone, without any child."""
    return sum(_ticks(pid, slice(11, 13)) for pid in pids) / _TICK


def _ticks(pid: int, fields: slice) -> int:
    try:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in found[fields])
