"""The history: one row a minute with the sums of the counters and a reading of the queues, and what it says of a time.

The heartbeat that finds no row of the present minute writes it. Sums make up for missing rows: what happened between
two rows is their difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from django.db.models import F, Q
from django.db.models.fields.json import KeyTransform
from django.db.models.functions import Mod

from tasks_app.features.history.models import HistoryRow
from tasks_app.metrics.reading import SlotStates, added
from tasks_app.metrics.system_reading import SystemReading, current_reading
from tasks_app.node.threads import OutageGuard
from tasks_app.queue.counters import BUCKETS
from tasks_app.queue.current import store, writing
from tasks_app.queue.due_work import DueWork
from tasks_app.queue.maintenance import remove_first, run_batches
from tasks_app.queue.models import Attempt, FailureReason

HOUR_MINUTES = 60
DAY_MINUTES = 24 * HOUR_MINUTES
#: Rows are removed after this time ...
KEPT_MINUTES = 30 * DAY_MINUTES
#: ... and after this time all but every COARSE_MINUTES-th: the longest picture shows a week, in such steps.
FINE_MINUTES = 8 * DAY_MINUTES
COARSE_MINUTES = 15
#: Few enough that no other writer waits long.
ROWS_PER_TRANSACTION = 500
TRANSACTIONS_PER_CALL = 10
#: How long a call to the database may take that writes a row, and how long after a failure the node tries again.
CALL_SECONDS, RETRY_SECONDS = 3.0, 20.0


def key(handler: str) -> str:
    """The key of a handler in `HistoryRow.handlers`: a name of digits alone would be taken for a place in a list."""
    return f":{handler}"


def entry(reading: SystemReading, handlers: Sequence[str]) -> dict[str, Any]:
    """The sums of the counters, and the queues and slots, of some handlers together; durations in seconds.

    `wait` and `run`: observations in each bucket of `counters.BUCKETS`; the zeros at the end are left out. `states`:
    the slots as in SlotStates, of all nodes.
    """
    totals, readings = reading.totals, [reading.handlers[name] for name in handlers]

    def summed(series: str) -> int:
        return sum(totals.sum(series, name) for name in handlers)

    failed: Counter[str] = Counter()
    for name in handlers:
        failed.update(totals.summed("failed", name))
    return {
        "received": summed("received"),
        "completed": summed("completed"),
        "failed": failed,
        "retried": summed("retried"),
        "wait": _buckets(reading, "wait", handlers),
        "run": _buckets(reading, "run", handlers),
        "ready": sum(read.ready for read in readings),
        "waiting": sum(read.waiting for read in readings),
        "held": sum(read.held for read in readings),
        "running": sum(read.running for read in readings),
        "oldest": round(max((read.oldest for read in readings), default=0.0), 1),
        "states": added(read.states for read in readings),
    }


def _buckets(reading: SystemReading, histogram: str, handlers: Sequence[str]) -> list[int]:
    totals = reading.totals
    buckets = [seen.buckets for name in handlers for seen in totals.distributions(histogram, name).values()]
    sums = list(map(sum, zip(*buckets, strict=True)))
    while sums and not sums[-1]:
        sums.pop()
    return sums


def record(minute: int) -> None:
    """Write the row of a minute, unless another node was first; once an hour, thin. Raises DatabaseError."""
    reading = current_reading(refresh=True)
    names = list(reading.handlers)
    row = HistoryRow(
        minute=minute,
        totals=entry(reading, names),
        handlers={key(name): entry(reading, [name]) for name in names},
        last_attempt=Attempt.objects.order_by("-pk").values_list("pk", flat=True).first() or 0,
    )
    with writing():
        HistoryRow.objects.bulk_create([row], ignore_conflicts=True)
    if minute % HOUR_MINUTES == 0:
        thin(minute)


def thin(minute: int) -> int:
    """Remove rows that are old, and rows of the future, left by a clock that was set back: for a second and 5,000 at
    most. Returns how many. Raises DatabaseError."""
    past_fine = Q(minute__lt=minute - FINE_MINUTES) & ~Q(step=0)
    rows = HistoryRow.objects.annotate(step=Mod("minute", COARSE_MINUTES)).filter(
        Q(minute__lt=minute - KEPT_MINUTES) | past_fine | Q(minute__gt=minute + 1)
    )
    batch = partial(remove_first, rows.order_by("minute"), ROWS_PER_TRANSACTION)
    return run_batches(batch, ROWS_PER_TRANSACTION, TRANSACTIONS_PER_CALL)


class MinuteRows:
    """A node's side job: the row of each minute that has none."""

    def __init__(self, node: str) -> None:
        self._job = OutageGuard("write the history", RETRY_SECONDS, CALL_SECONDS)

    def run(self, work: DueWork) -> None:
        """Write the row of the present minute, if there is none. Raises nothing."""
        if "history" in work.features:
            self._job.run(partial(record, work.minute))


# What the history says about a time: tasks a minute, queues, percentiles, slots.

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

#: One value a step; None: unknown.
Values = list[float | None]


@dataclass(frozen=True)
class Window:
    """How far to look back, and the minutes between two values: of a picture, and of the table behind it."""

    minutes: int
    step: int
    table_step: int


WINDOWS: Mapping[str, Window] = {
    "hour": Window(HOUR_MINUTES, 1, 5),
    "day": Window(DAY_MINUTES, 5, 60),
    "week": Window(7 * DAY_MINUTES, COARSE_MINUTES, 6 * HOUR_MINUTES),
}


@dataclass(frozen=True)
class Trends:
    """Values at `minutes` (since 1970); each is of the time since the minute before it in the list.

    `outcomes`: tasks that ended, a minute: `completed`, and the failure reasons that occurred. `queue`: tasks.
    `oldest`, `wait` and `run`: seconds, the last two by the keys of PERCENTILES. `slots`: by the fields of SlotStates,
    of all nodes together.
    """

    minutes: list[int]
    outcomes: dict[str, Values]
    queue: dict[str, Values]
    oldest: dict[str, Values]
    wait: dict[str, Values]
    run: dict[str, Values]
    slots: dict[str, Values]

    @property
    def empty(self) -> bool:
        """Whether there is no difference of two rows yet."""
        return all(value is None for value in self.outcomes["completed"])


class _Sample(NamedTuple):
    minute: int
    entry: Mapping[str, Any]


def _counts(entry: Mapping[str, Any]) -> dict[str, int]:
    return {"completed": entry.get("completed", 0), **entry.get("failed", {})}


def present_minute() -> int:
    """Minutes since 1970, by the database's clock. May cost a query. Raises DatabaseError."""
    return int(store().moment()[1].timestamp() // 60)


def moment(minute: int) -> datetime:
    """The beginning of a minute since 1970."""
    return datetime.fromtimestamp(minute * 60, UTC)


def first_attempt(minute: int) -> int:
    """An id below those of the attempts that ended since a minute; 0 if the history has none. Raises DatabaseError."""
    rows = HistoryRow.objects.filter(minute__lte=minute, minute__gte=minute - COARSE_MINUTES)
    return rows.order_by("-minute").values_list("last_attempt", flat=True).first() or 0


@dataclass(frozen=True)
class Failing:
    """A handler whose tasks failed lately, and how many of its tasks ended; cancelled ones count on neither side."""

    handler: str
    failed: int
    ended: int


def failing(reading: SystemReading, minutes: int) -> tuple[list[Failing], int] | None:
    """The handlers whose tasks failed within the last `minutes`, those with the most failures first; and how many
    minutes the history looks back, fewer if no node wrote it before. None: it has no row of that time.

    One row is read: its sums are compared with those of a reading. Raises DatabaseError.
    """
    now = present_minute()
    rows = HistoryRow.objects.filter(minute__range=(now - minutes, now)).order_by("minute")
    before = rows.values_list("minute", "handlers").first()
    if before is None:
        return None
    totals, found = reading.totals, list[Failing]()
    for name in reading.handlers:
        sums = {"completed": totals.sum("completed", name), **totals.summed("failed", name)}
        then = _counts(before[1].get(key(name), {}))
        grown = {outcome: _grown(sums, then, outcome) for outcome in sums}
        completed = grown.pop("completed")
        grown.pop(FailureReason.CANCELLED, None)
        if failed := sum(grown.values()):
            found.append(Failing(name, failed, failed + completed))
    found.sort(key=lambda one: (-one.failed, one.ended, one.handler))
    return found, max(now - before[0], 1)


def trends(minutes: int, step: int, now: int, handler: str | None = None, every: int | None = None) -> Trends:
    """Read the trends of the `minutes` before `now`, of one handler or of all together. Raises DatabaseError.

    Rows `step` minutes apart are read. The values are as far apart, or `every` minutes, a multiple of that.
    """
    every, last = every or step, now - now % step
    grid = list(range(last - minutes + every, last + 1, every))
    steps = list(_steps(grid, every, _samples(grid[0] - every, last, step, handler)))
    reasons = [
        reason.value
        for reason in FailureReason
        if any(_grown(_counts(now.entry), _counts(then.entry), reason) for now, then in steps if now and then)
    ]
    return Trends(
        minutes=grid,
        outcomes={name: _rates(steps, name) for name in ("completed", *reasons)},
        queue=_queue(steps),
        oldest={"oldest": _plain(steps, "oldest")},
        wait=_percentiles(steps, "wait"),
        run=_percentiles(steps, "run"),
        slots=_slots(steps),
    )


#: The sample of a step, and the one before it.
_Step = tuple[_Sample | None, _Sample | None]


def _samples(first: int, last: int, step: int, handler: str | None) -> Iterable[_Sample]:
    rows = HistoryRow.objects.annotate(late=F("minute") % step).filter(minute__range=(first, last), late=0)
    column: Any = "totals" if handler is None else KeyTransform(key(handler), "handlers")
    for minute, entry in rows.order_by("minute").values_list("minute", column):
        yield _Sample(minute, entry or {})


def _steps(grid: Sequence[int], every: int, samples: Iterable[_Sample]) -> Iterable[_Step]:
    """For each minute of the grid the last sample since the minute before, and the one that it is compared with."""
    by_place: dict[int, list[_Sample]] = {}
    for sample in samples:
        by_place.setdefault(-((grid[-1] - sample.minute) // every), []).append(sample)
    before = by_place.get(-len(grid), [None])[-1]
    for place in range(1 - len(grid), 1):
        here = by_place.get(place)
        if here is None:
            yield None, before
            continue
        yield here[-1], before or (here[0] if len(here) > 1 else None)
        before = here[-1]


def _grown(now: Mapping[str, int], then: Mapping[str, int], name: str) -> int:
    """What a sum has grown by. One that is smaller than before has begun anew."""
    after, before = now.get(name, 0), then.get(name, 0)
    return after - before if after >= before else after


def _rates(steps: Sequence[_Step], name: str) -> Values:
    """What a sum has grown by a minute. Steps without a sample have the average up to the next one."""
    rates: Values = []
    following: float | None = None
    for now, then in reversed(steps):
        if then is None:
            following = None
        elif now is not None:
            following = round(_grown(_counts(now.entry), _counts(then.entry), name) / (now.minute - then.minute), 3)
        rates.append(following)
    return rates[::-1]


def _plain(steps: Sequence[_Step], name: str) -> Values:
    return [None if now is None else now.entry.get(name, 0) for now, _ in steps]


def _queue(steps: Sequence[_Step]) -> dict[str, Values]:
    """Held tasks are left out if there was none in all this time."""
    queue = {name: _plain(steps, name) for name in ("ready", "waiting", "held")}
    if not any(queue["held"]):
        del queue["held"]
    return queue


def _slots(steps: Sequence[_Step]) -> dict[str, Values]:
    states = [None if now is None else now.entry.get("states") for now, _ in steps]
    return {
        name: [None if state is None else state[place] for state in states]
        for place, name in enumerate(SlotStates._fields)
    }


def _percentiles(steps: Sequence[_Step], name: str) -> dict[str, Values]:
    seen = [None if now is None or then is None else _observed(now.entry, then.entry, name) for now, then in steps]
    return {
        label: [None if buckets is None else percentile(buckets, share) for buckets in seen]
        for label, share in PERCENTILES.items()
    }


def _observed(now: Mapping[str, Any], then: Mapping[str, Any], name: str) -> list[int]:
    """The observations in each bucket between two samples."""
    after, before = now.get(name, ()), then.get(name, ())
    padded = [*before, *[0] * (len(after) - len(before))]
    if len(before) > len(after) or any(old > new for new, old in zip(after, padded, strict=True)):
        return list(after)  # begun anew
    return [new - old for new, old in zip(after, padded, strict=True)]


def percentile(buckets: Sequence[int], share: float) -> float | None:
    """The value in seconds that this share of the observations does not exceed, interpolated within its bucket.

    None without observations. At most the last bound of BUCKETS.
    """
    wanted, below = share * sum(buckets), 0
    if not wanted:
        return None
    for index, count in enumerate(buckets):
        if count and below + count >= wanted:
            if index >= len(BUCKETS):
                break
            low = BUCKETS[index - 1] if index else 0.0
            return round(low + (BUCKETS[index] - low) * (wanted - below) / count, 6)
        below += count
    return BUCKETS[-1]
