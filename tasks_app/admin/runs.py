"""The runs of a time: when each attempt ended and how long it took. A bounded number of rows is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max, Min

from tasks_app.models import Attempt

#: Runs that a picture shows.
MAX_RUNS = 2_000
#: Attempts that are read to find those of one handler.
MAX_READ_FOR_HANDLER = 8_000


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

    The order of the ids is that of the ends. If there are more than MAX_RUNS, ids at even distances are read.
    """
    ends = Attempt.objects.aggregate(first=Min("pk"), last=Max("pk"))
    if ends["last"] is None:
        return Runs([], False)
    first, last = max(after + 1, ends["first"]), ends["last"]
    most = MAX_RUNS if handler is None else MAX_READ_FOR_HANDLER
    stride = -(-(last - first + 1) // most)
    found = Attempt.objects.filter(ended_at__gte=since)
    if handler is not None:
        found = found.filter(task__task_type=handler)
    ids = {"pk__in": list(range(last, first - 1, -stride))} if stride > 1 else {"pk__gte": first}
    rows = (
        found.filter(**ids)
        .order_by("-pk")
        .values_list("ended_at", "seconds", "started_at", "outcome", "task_id", "task__task_type", "number")[:MAX_RUNS]
    )
    return Runs([_run(*row) for row in rows], stride > 1 or len(rows) == MAX_RUNS)


def _run(
    ended_at: datetime, seconds: float | None, started_at: datetime, outcome: str, task_id: Any, type_: str, number: int
) -> Run:
    if seconds is None:
        seconds = max((ended_at - started_at).total_seconds(), 0.0)
    return Run(ended_at, round(seconds, 6), outcome, str(task_id), type_, number)
