"""So many tests at a time, whichever leg they belong to: a FIFO with one byte for each, as make's jobserver has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

FIFO = "TEST_TURNS"


def make(path: Path, turns: int) -> int:
    """Make the FIFO that TEST_TURNS names. Keep the descriptor open while tests run: the bytes go with the last one."""
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR)
    os.write(fifo, b"." * turns)
    return fifo


@contextmanager
def turn() -> Iterator[None]:
    """Wait until fewer tests run than may. If TEST_TURNS was not set at the first call, nothing."""
    fifo = _fifo()
    if fifo is None:
        yield
        return
    byte = os.read(fifo, 1)
    try:
        yield
    finally:
        os.write(fifo, byte)


@cache
def _fifo() -> int | None:
    # A test that starts pytest would wait there for itself.
    path = os.environ.pop(FIFO, None)
    return os.open(path, os.O_RDWR) if path else None
