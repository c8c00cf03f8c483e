"""So many tests at a time, whichever leg they belong to: a FIFO with one byte for each, as make's jobserver has."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

FIFO = "TEST_TURNS"
#: Seconds between two looks at the processors.
LOOK_SECONDS = 1.0
#: Above this share of idle time there is a turn more, below the other one less.
IDLE, BUSY = 0.2, 0.05


def make(path: Path, turns: int) -> int:
    """Make the FIFO that TEST_TURNS names. Keep the descriptor open while tests run: the bytes go with the last one."""
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR)
    os.write(fifo, b"." * turns)
    return fifo


@contextmanager
def more_while_idle(fifo: int, turns: int, most: int) -> Iterator[None]:
    """Let up to `most` tests run, rather than `turns`, while the processors are idle."""
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(fifo, turns, most, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(fifo: int, turns: int, most: int, ended: threading.Event) -> None:
    os.set_blocking(fifo, False)
    given, look = turns, idle_share()
    while not ended.wait(LOOK_SECONDS):
        idle = look()
        if idle > IDLE and given < most:
            os.write(fifo, b".")
            given += 1
        elif idle < BUSY and given > turns and select.select([fifo], [], [], LOOK_SECONDS)[0]:
            with suppress(BlockingIOError):  # a test was faster
                os.read(fifo, 1)
                given -= 1


def idle_share() -> Callable[[], float]:
    """Returns a function that returns the processors' share of idle time since its last call."""
    before = _times()

    def look() -> float:
        nonlocal before
        now = _times()
        idle, everything = (new - old for new, old in zip(now, before, strict=True))
        before = now
        return idle / max(everything, 1)

    return look


def _times() -> tuple[int, int]:
    """The processors' idle time, waits for disks included, and all of it, in ticks."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


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
