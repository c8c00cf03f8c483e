"""What the activity page draws: pictures of the trends, as JSON for its script and as tables; and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from django.db.models import Max, Min

from tasks_app.features.history.history import Trends, Values, moment
from tasks_app.handlers.words import span
from tasks_app.queue.models import Attempt, Task

#: Blue, green, brown and red, as in the strip of slots.
SLOT_LOOKS = (2, 0, 3, 1)


def pictures(of: Trends) -> list[dict[str, Any]]:
    """All of them, in the order in which the page shows them, with a value for each of `Trends.minutes`."""
    return [
        _picture("outcomes", "Tasks that ended, a minute", "rate", of.outcomes, kind="stacked"),
        _picture("queue", "Queue", "tasks", of.queue),
        _picture("oldest", "Oldest ready task", "seconds", {"age": of.oldest["oldest"]}),
        _picture("wait", "Wait for a slot", "seconds", of.wait, log=True),
        _picture("run", "Run time", "seconds", of.run, log=True),
        _picture("slots", "Slots", "slots", of.slots, kind="stacked", looks=SLOT_LOOKS),
    ]


def _picture(
    key: str,
    title: str,
    unit: str,
    values: Mapping[str, Values],
    kind: str = "lines",
    log: bool = False,
    looks: Sequence[int] = (),
) -> dict[str, Any]:
    """One picture. `unit`: `tasks`, `rate` (tasks a minute), `seconds` or `slots`; `kind`: `stacked` or `lines`.

    `log`: the axis of the values is logarithmic. `looks`: which colour and hatching of chart.js each series has; empty:
    in their order.
    """
    return {
        "key": key,
        "title": title,
        "unit": unit,
        "kind": kind,
        "log": log,
        "looks": looks or [*range(len(values))],
        "series": [{"label": name.replace("_", " "), "values": series} for name, series in values.items()],
    }


def tables(of: Trends, days: bool) -> list[dict[str, Any]]:
    """A table for each picture, with its heads and its rows, (time, cells), the newest first. `days`: its times have
    dates."""
    pattern = "%b %d %H:%M" if days else "%H:%M"
    times = [f"{moment(minute):{pattern}}" for minute in of.minutes]
    return [_table(picture, times) for picture in pictures(of)]


def _table(picture: dict[str, Any], times: Sequence[str]) -> dict[str, Any]:
    series = picture["series"]
    cells = zip(*([shown(value, picture["unit"]) for value in one["values"]] for one in series), strict=True)
    rows = list(zip(times, map(list, cells), strict=True))
    heads = [one["label"] for one in series]
    return {"key": picture["key"], "title": picture["title"], "heads": heads, "rows": rows[::-1]}


def shown(value: float | None, unit: str) -> str:
    """A value for people; a dash if it is unknown."""
    if value is None:
        return "\N{EN DASH}"
    if unit == "seconds":
        return span(value) if value else "0"
    return f"{value:,.1f}" if unit == "rate" else f"{value:,.0f}"


# The runs of a time: when each attempt ended and how long it took. A bounded number of rows is read.

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


def as_list(run: Run) -> list[Any]:
    """[end in seconds since 1970, seconds, outcome, task, type, attempt], for JSON."""
    return [round(run.ended_at.timestamp(), 1), run.seconds, run.outcome, run.task_id, run.task_type, run.number]


def runs(after: int, since: datetime, handler: str | None = None) -> tuple[list[Run], bool]:
    """The runs that ended since a moment, all of whose ids exceed `after`, the newest first; and whether there are
    more, of which these are evenly spaced ones. Raises DatabaseError.

    The order of the ids is that of the ends. If there are more than MAX_RUNS, ids at random distances are read: at
    equal ones, handlers that take turns would be missed.
    """
    most = MAX_RUNS if handler is None else MAX_READ_FOR_HANDLER
    first, last = _ends(after)
    stride = max(-(-(last - first + 1) // most), 1)
    chance = Random(last)
    ids = [step - chance.randrange(stride) for step in range(last, first - 1, -stride)]
    sample = _first(ids, MAX_RUNS, since, handler)
    return sample, stride > 1 or len(sample) == MAX_RUNS


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
    runs: list[Run] = []
    # In few ids at a time: with many, planners prefer to scan the table.
    size = min(IDS_PER_STATEMENT, 2 * most)
    for start in range(0, len(ids), size):
        runs += _read(ids[start : start + size], since, handler)
        if len(runs) >= most:
            break
    return runs[:most]


def _read(ids: Sequence[int], since: datetime, handler: str | None) -> list[Run]:
    columns = "pk", "ended_at", "seconds", "started_at", "outcome", "task_id", "number"
    attempts = [row for row in Attempt.objects.filter(pk__in=ids).values_list(*columns) if row[1] >= since]
    types = dict(Task.objects.filter(pk__in={row[5] for row in attempts}).values_list("pk", "task_type"))
    return [
        Run(ended_at, _seconds(ended_at, seconds, started_at), outcome, str(task), types[task], number)
        for _, ended_at, seconds, started_at, outcome, task, number in sorted(attempts, reverse=True)
        if task in types and handler in (None, types[task])
    ]


def _seconds(ended_at: datetime, seconds: float | None, started_at: datetime) -> float:
    if seconds is None:
        seconds = max((ended_at - started_at).total_seconds(), 0.0)
    return round(seconds, 6)
