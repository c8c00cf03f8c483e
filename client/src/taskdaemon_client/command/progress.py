"""A bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from taskdaemon_client.command.output import harmless


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
