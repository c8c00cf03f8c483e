"""The type with limits: its lines in handlers.toml, how these change, and which limits were in force."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

LIMITED = "limited"
#: Lines of its table.
LIMITS = {
    "max_running": "3",
    "max_running_per_key": "1",
    "rate": '"20/s"',
    "max_queue": "25",
    "limit_key_from": '"/customer"',
}
#: What they become for some seconds; None: the line is gone. A `max_running` that comes back does not count what has
#: begun without it, so it stays.
CHANGES: tuple[Mapping[str, str | None], ...] = (
    {"max_running_per_key": "2"},
    {"max_running_per_key": None},
    {"max_running": "5", "max_running_per_key": "3"},
    {"max_running": "1"},
    {"rate": '"8/s"'},
    {"rate": '"40/s"', "max_running": "2"},
)
#: The keys of its tasks, one more often than the others together; None: without a key, so many that `max_running`
#: holds back more than the limit by key does.
KEYS = ("ada", "ada", "ada", "bob", "eve", None, None, None, None, None)
SAMPLE_SECONDS = 0.2
#: What a node logs of permits whose tasks were moved without them, and of those whose nodes did not give them up.
MENDED, RAN_OUT = "mended the permits of tasks", "has run out"
_IN_FORCE = f"""SELECT max_running, max_running_per_key, interval AS seconds FROM taskdaemon_limit
WHERE handler = '{LIMITED}'"""
PERMITS = """SELECT (SELECT count(*) FROM taskdaemon_permit) + (SELECT count(*) FROM taskdaemon_running_permit)
 + (SELECT count(*) FROM taskdaemon_held_task) AS n"""


def changed(text: str, change: Mapping[str, str | None]) -> str:
    """The text of handlers.toml with other limits."""
    head, table = text.split(f"[handlers.{LIMITED}]\n")
    for name, value in change.items():
        table = re.sub(rf"^{name} = .*\n", f"{name} = {value}\n" if value else "", table, count=1, flags=re.MULTILINE)
    return f"{head}[handlers.{LIMITED}]\n{table}"


@dataclass(frozen=True)
class Sample:
    """The limits that were in force at a moment between `began` and `over`; without a value there is none.

    `seconds`: between two starts.
    """

    began: float
    over: float
    max_running: int | None = None
    max_running_per_key: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class InForce:
    """All samples of a run, in order."""

    samples: list[Sample] = field(default_factory=list)

    def most(self, name: str, begin: float, end: float) -> float:
        """The highest of a limit's values that may have been in force between two moments."""
        values = [getattr(each, name) for each in self._between(begin, end)]
        return max((float("inf") if each is None else float(each) for each in values), default=float("inf"))

    def least_seconds(self, begin: float, end: float) -> float:
        """The shortest time between two starts that may have been in force between two moments."""
        return min((each.seconds or 0.0 for each in self._between(begin, end)), default=0.0)

    def _between(self, begin: float, end: float) -> Iterable[Sample]:
        """With the sample before them, and the one after them: a change may have come just after or before these."""
        before = [each for each in self.samples if each.over < begin][-1:]
        after = next((each for each in self.samples if each.began > end), None)
        inside = [each for each in self.samples if each.over >= begin and each.began <= end]
        return [*before, *inside, *([after] if after else [])]


class LimitWatch:
    """Collects `samples` on a thread until `close`."""

    def __init__(self, rows: Callable[[str], list[dict[str, Any]]]) -> None:
        self.samples: list[Sample] = []
        self._rows, self._over = rows, threading.Event()
        self._thread = threading.Thread(target=self._run, name="limit watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            began = time.time()
            with suppress(psycopg.Error, sqlite3.Error):
                for row in self._rows(_IN_FORCE):
                    self.samples.append(Sample(began, time.time(), **row))

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(60)
