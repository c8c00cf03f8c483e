"""The body of every competitor's task: it records when it ran."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

_RECORD = struct.Struct("=qd")
_file: int | None = None


def stamp(number: int) -> None:
    """Append this task's number and the monotonic time, which all processes share, to the run's file.

    One write a task, about 2 µs. A killed process loses none.
    """
    global _file
    if _file is None:
        _file = os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_file, _RECORD.pack(number, time.monotonic()))


def count(path: Path) -> int:
    """The number of tasks that have run."""
    return path.stat().st_size // _RECORD.size if path.exists() else 0


def read(path: Path) -> list[tuple[int, float]]:
    """Every stamp: the task's number and its time."""
    return list(_RECORD.iter_unpack(path.read_bytes())) if path.exists() else []
