"""The body of every rival's task: it says when it ran, and that is all."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

_RECORD = struct.Struct("=qd")
_file: int | None = None


def stamp(number: int) -> None:
    """Add this task's number and the moment (monotonic clock, the same for all processes) to the run's file.

    One write a task, appended whole: about 2 µs, and nothing is lost with a process that is killed.
    """
    global _file
    if _file is None:
        _file = os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_file, _RECORD.pack(number, time.monotonic()))


def count(path: Path) -> int:
    """How many tasks have run."""
    return path.stat().st_size // _RECORD.size if path.exists() else 0


def read(path: Path) -> list[tuple[int, float]]:
    """Every stamp: the task's number, and when it ran."""
    return list(_RECORD.iter_unpack(path.read_bytes())) if path.exists() else []
