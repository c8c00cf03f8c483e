"""The runs of a time: when each attempt ended and how long it took. A bounded number of rows is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from django.db.models import Max, Min

from tasks_app.models import Attempt, Task

#: Runs that a picture shows.
MAX_RUNS = 2_000
#: Attempts that are read to find those of one handler.
MAX_READ_FOR_HANDLER = 4_000
#: Runs of a list, and attempts that are read to find those of one handler.
MAX_LATEST, MAX_READ_FOR_LATEST = 50, 1_000
IDS_PER_STATEMENT = 1_000


@dataclass(frozen=True)
class Run:
    """One attempt. `seconds`: the handler's time; of an attempt without a reply, from its start to its end."""

    ended_at: datetime
    seconds: float
    outcome: str
    task_id: str
    task_type: str
    number: int


@dataclass(frozen=True)
class Runs:
    """`runs`, the newest first. `sampled`: the time has more, of which these are evenly spaced ones."""

    runs: list[Run]
    sampled: bool

    def as_json(self) -> dict[str, Any]:
        """Each run as [end in seconds since 1970, seconds, outcome, task, type, attempt]."""
        return {
            "sampled": self.sampled,
            "runs": [
                [round(run.ended_at.timestamp(), 1), run.seconds, run.outcome, run.task_id, run.task_type, run.number]
                for run in self.runs
            ],
        }


def runs(after: int, since: datetime, handler: str | None = None) -> Runs:
    """The runs that ended since a moment, all of whose ids exceed `after`. Raises DatabaseError.

    The order of the ids is that of the ends. If there are more than MAX_RUNS, ids at random distances are read: at
    equal ones, handlers that take turns would be missed.
    """
    most = MAX_RUNS if handler is None else MAX_READ_FOR_HANDLER
    first, last = _ends(after)
    stride = max(-(-(last - first + 1) // most), 1)
    chance = Random(last)
    ids = [each - chance.randrange(stride) for each in range(last, first - 1, -stride)]
    found = _first(ids, MAX_RUNS, since, handler)
    return Runs(found, stride > 1 or len(found) == MAX_RUNS)


def latest_runs(since: datetime, handler: str | None = None) -> list[Run]:
    """The latest runs since a moment, MAX_LATEST at most. Raises DatabaseError."""
    first, last = _ends(0)
    return _first(range(last, max(first, last - MAX_READ_FOR_LATEST) - 1, -1), MAX_LATEST, since, handler)


def _ends(after: int) -> tuple[int, int]:
    """The lowest id that exceeds `after`, or a lower bound of it, and the highest."""
    # Each by a statement of its own: SQLite reads every row for both at once.
    last = Attempt.objects.aggregate(last=Max("pk"))["last"]
    if last is None:
        return after + 1, after
    return max(after + 1, Attempt.objects.aggregate(first=Min("pk"))["first"] or 0), last


def _first(ids: Sequence[int], most: int, since: datetime, handler: str | None) -> list[Run]:
    """The first runs with these ids, in their order."""
    found: list[Run] = []
    # In few ids at a time: with many, planners prefer to scan the table.
    size = min(IDS_PER_STATEMENT, 2 * most)
    for start in range(0, len(ids), size):
        found += _read(ids[start : start + size], since, handler)
        if len(found) >= most:
            break
    return found[:most]


def _read(ids: Sequence[int], since: datetime, handler: str | None) -> list[Run]:
    attempts = [
        each
        for each in Attempt.objects.filter(pk__in=ids).values_list(
            "pk", "ended_at", "seconds", "started_at", "outcome", "task_id", "number"
        )
        if each[1] >= since
    ]
    types = dict(Task.objects.filter(pk__in={each[5] for each in attempts}).values_list("pk", "task_type"))
    return [
        Run(ended_at, _seconds(ended_at, seconds, started_at), outcome, str(task), types[task], number)
        for _, ended_at, seconds, started_at, outcome, task, number in sorted(attempts, reverse=True)
        if task in types and handler in (None, types[task])
    ]


def _seconds(ended_at: datetime, seconds: float | None, started_at: datetime) -> float:
    if seconds is None:
        seconds = max((ended_at - started_at).total_seconds(), 0.0)
    return round(seconds, 6)
