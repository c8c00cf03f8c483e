"""Bars on a terminal, and how long a command goes on without an answer."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from taskdaemon_client.command.output import harmless, say
from taskdaemon_client.errors import TaskdaemonError, TryLater, Unreachable

#: For so long after the last answer a wait goes on: a platform that is restarted may migrate its tables first.
PATIENCE_SECONDS = 300
RETRY_SECONDS = 1.0
#: What a restart looks like.
AWAY = (Unreachable, TryLater)


class Bar:
    """A bar on stderr, or nothing where that is no terminal."""

    def __init__(self, progress: Progress, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def show(self, done: float | None = None, words: str | None = None) -> None:
        """How far it is, and what is said of it."""
        self._progress.update(self._task, completed=done, description=None if words is None else harmless(words))


@contextmanager
def bar(total: float | None) -> Iterator[Bar]:
    """A bar while the block runs."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # What is written to stdout goes above the bar only if it goes to the terminal.
    progress = Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )  # fmt: skip
    with progress:
        yield Bar(progress, total)


class Patience:
    """Goes on over a restart of the platform. `deadline`: by time.monotonic(), when the caller's own time is over."""

    def __init__(self, answered: bool = False, deadline: float = math.inf) -> None:
        """`answered`: the platform has answered this command before. One that never has is not waited for."""
        self._until = time.monotonic() + PATIENCE_SECONDS if answered else 0.0
        self._deadline = deadline
        self._said = False

    def answered(self) -> None:
        """It has answered."""
        self._until = time.monotonic() + PATIENCE_SECONDS
        self._said = False

    def sleep(self, error: TaskdaemonError) -> None:
        """Sleep before the next try. Raises `error` if there is none."""
        now = time.monotonic()
        if now >= self._until:
            raise error
        if not self._said:
            say(f"{error}; trying again")
            self._said = True
        later = error.retry_after if isinstance(error, TryLater) else None
        longest = min(self._deadline, self._until) - now
        time.sleep(max(0.0, min(max(later or 0.0, RETRY_SECONDS), longest)))
