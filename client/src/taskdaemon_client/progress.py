"""A bar on stderr."""

from __future__ import annotations

import io
import sys
import time
from types import TracebackType
from typing import TextIO

WIDTH = 30


class ProgressBar:
    """Shows how many of `total` tasks have ended, at most ten times a second. Shows nothing if `to` is no terminal."""

    def __init__(self, total: int = 0, to: TextIO | None = None) -> None:
        self.total = total
        self.done = self.failed = 0
        self._to = sys.stderr if to is None else to
        self._begun = time.monotonic()
        self._shown = 0.0
        self._width = 0

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.show():
            self._to.write("\n")
            self._to.flush()

    def ended(self, *, failed: bool = False) -> None:
        """Count a further task that has ended."""
        self.done += 1
        self.failed += failed
        if time.monotonic() - self._shown >= 0.1:
            self.show()

    def show(self) -> bool:
        """Draw the bar. Answers whether there is a terminal."""
        if not self._to.isatty():
            return False
        self._shown = time.monotonic()
        line = self.line(self._shown - self._begun)
        self._to.write("\r" + line.ljust(self._width))
        self._to.flush()
        self._width = len(line)
        return True

    def line(self, seconds: float) -> str:
        """The text of the bar after so many seconds."""
        filled = WIDTH if self.done >= self.total else WIDTH * self.done // self.total
        words = [f"[{'#' * filled}{' ' * (WIDTH - filled)}] {self.done:,} of {self.total:,}"]
        if self.failed:
            words.append(f"{self.failed:,} failed")
        if 0 < self.done < self.total:
            left = round(seconds / self.done * (self.total - self.done))
            words.append(f"about {left // 60}:{left % 60:02d} left")
        return ", ".join(words)


def bar(wanted: bool | ProgressBar, total: int) -> ProgressBar:
    """The bar that a caller wants: its own bar, a new bar, or a bar that shows nothing."""
    if isinstance(wanted, ProgressBar):
        wanted.total = total
        return wanted
    return ProgressBar(total, None if wanted else io.StringIO())
