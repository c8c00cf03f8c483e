"""What the actors of a deployment recorded of their executions, which does not depend on the platform."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A start, an end, or (tick) a sign that it runs. `at` in seconds of the machine's monotonic clock."""

    what: str
    task: str
    attempt: int
    at: float
    pid: int


def read(path: Path) -> list[Entry]:
    """All entries so far, in the order in which they were written."""
    if not path.exists():
        return []
    return [Entry(**json.loads(line)) for line in path.read_text().splitlines()]


def starts(path: Path, task: str | None = None) -> list[Entry]:
    """The starts, of one task or of all."""
    return [entry for entry in read(path) if entry.what == "start" and task in (None, entry.task)]


def last_sign(path: Path, task: str, attempt: int) -> float:
    """When the handler of an attempt wrote for the last time, as a moment of `Entry.at`."""
    return max(entry.at for entry in read(path) if (entry.task, entry.attempt) == (task, attempt))


def most_at_once(entries: list[Entry]) -> int:
    """How many tasks were in handlers' hands at one moment, at most."""
    most = now = 0
    for entry in sorted(entries, key=lambda entry: entry.at):
        if entry.what == "tick":
            continue
        now += 1 if entry.what == "start" else -1
        most = max(most, now)
    return most
