"""Each node makes the tasks of ticks that are due, and keeps the ledger of what became of each tick.

A tick is one transaction, which moves the schedule's row on, stores the task and writes the line. The row is locked and
its update is guarded on what was read, so that of all nodes one fires a tick. Times are the database's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import cycle
from typing import NamedTuple
from uuid import UUID

import structlog
from django.db import DatabaseError, DataError, Error, IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.db.write_health import first_line
from tasks_app.features.schedules.definition import Definition, Missed, NotUnderstood, Timing
from tasks_app.features.schedules.models import Firing, Outcome, Schedule
from tasks_app.handlers.words import moment_text, span
from tasks_app.logs import REMINDER_SECONDS, LogOnce
from tasks_app.metrics.local_counters import process
from tasks_app.metrics.system_reading import current_reading
from tasks_app.process import fail_point
from tasks_app.queue.current import store, writing
from tasks_app.queue.models import Task
from tasks_app.queue.submission import Submission
from tasks_app.queue.submit import submit_now

log = structlog.get_logger(__name__)

#: A tick that is later than this was missed.
LATE_SECONDS = 10.0
WHY_MISSED = f"no node fired it within {LATE_SECONDS:.0f} s: none lived, or the database took no writes"
#: A schedule whose tick is later than this is a problem: no node fires it.
OVERDUE_SECONDS = 15.0
#: Missed ticks of a cron line that one transaction counts.
MAX_MISSED = 2_000
#: Ended tasks of a schedule with `overlap = "skip"` that one transaction looks at and leaves behind for good.
MAX_FINAL = 10_000
#: A task that ended so long ago has its position for good: the transaction that sends one again is not as old.
FINAL_SECONDS = 600.0
#: How long one beat may fire ticks.
TURN_SECONDS = 0.5
#: How many schedules take a step in one transaction.
TOGETHER = 20
_log_once = LogOnce(REMINDER_SECONDS)


class Step(NamedTuple):
    """What is next for a schedule that is due: ticks that were missed, a tick that makes a task, the one after them."""

    next_at: datetime
    tick: datetime | None
    missed: tuple[datetime, datetime, int] | None = None


def step(timing: Timing, due: datetime, now: datetime, catches_up: bool) -> Step:
    """The next step of a schedule whose tick `due` has come."""
    before = now - timedelta(seconds=LATE_SECONDS)
    if due >= before:
        return Step(timing.next(due), due)
    missed: Missed = timing.missed(due, before, MAX_MISSED)
    # The last tick that was missed, after which one comes that was not.
    if not catches_up or missed.following < before:
        return Step(missed.following, None, (missed.first, missed.last, missed.number))
    rest = (missed.first, missed.before_last, missed.number - 1) if missed.number > 1 else None
    return Step(missed.following, missed.last, rest)


class Refusals:
    """Why tasks cannot be stored, as of the last reading of the system."""

    def __init__(self, together: int = 1) -> None:
        reading, self._most = current_reading(), conf.environment().max_queue
        self._waiting = reading.queue_size
        self._types = {*conf.handlers(), *(name for node in reading.nodes for name in node.pools)}
        self._by_schedule: dict[str, str] = {}
        #: Schedules whose steps are one transaction; 1 once one of several was refused, to find the one that is.
        self.together = together

    def of(self, schedule: str, task_type: str, beside: int = 0) -> str:
        """Why a task cannot be stored beside so many others, in a sentence; blank if it can."""
        if task_type not in self._types:
            return f'no handler is named "{task_type}"'
        return self._by_schedule.get(schedule, "") or self.full(beside)

    def full(self, beside: int = 0) -> str:
        """Why no task can be stored beside so many others."""
        return (
            "" if self._waiting + beside < self._most else f"the queue is full: at most {self._most:,} tasks may wait"
        )

    def stored(self, tasks: int) -> None:
        """So many were stored."""
        self._waiting += tasks

    def refused(self, schedule: str, error: Exception) -> bool:
        """The database refuses the next task of a schedule; false if that was known."""
        known = schedule in self._by_schedule
        self._by_schedule[schedule] = f"the database refuses its task: {first_line(error)}"
        return not known


def fire_due(seconds: float = TURN_SECONDS, together: int = TOGETHER) -> int:
    """Take the next steps of the schedules that are due, for so long at most, so many in a transaction.

    Returns how many. Raises DatabaseError.
    """
    if not _due().exists():
        return 0
    until, refusals, passed = store().elapsed() + seconds, Refusals(together), set[str]()
    orders, steps = cycle(("-next_at", "next_at")), 0
    # In turn the last that became due and the first: neither waits until all ticks that a downtime missed are counted.
    while store().elapsed() < until and (taken := _fire_some(refusals, passed, next(orders))):
        steps += taken
    return steps


def _due() -> QuerySet[Schedule]:
    return Schedule.objects.filter(next_at__lte=Now())


def _fire_some(refusals: Refusals, passed: set[str], order: str) -> int:
    """The next step of each of the first schedules in an order that are due and not in `passed`. Returns how many."""
    names: list[str] = []
    try:
        with writing():
            due = _due().exclude(pk__in=passed).order_by(order, "pk").select_for_update(skip_locked=True)
            rows = list(due[: refusals.together])
            names = [row.pk for row in rows]
            if not names:
                return 0
            made = _take_steps(rows, refusals, passed)
            fail_point("inside_firing")
        refusals.stored(made)
    except Exception as error:
        refused = isinstance(error, IntegrityError | DataError)
        if not names or (isinstance(error, Error) and not refused):
            raise
        if len(names) > 1:
            refusals.together = 1
        elif not (refused and refusals.refused(names[0], error)):
            _pass(names[0], passed, error)
    fail_point("after_firing")
    return len(names)


def _pass(name: str, passed: set[str], error: Exception) -> None:
    passed.add(name)
    if _log_once.is_due(name):
        log.error("this node cannot fire a schedule", schedule=name, exc_info=error)


class Tick(NamedTuple):
    """A tick that is to make its task."""

    schedule: str
    definition: Definition
    at: datetime


def _take_steps(rows: Sequence[Schedule], refusals: Refusals, passed: set[str]) -> int:
    """Returns how many tasks were made."""
    now, ticks, skipped = store().moment()[1], list[Tick](), set[str]()
    for row in rows:
        try:
            definition = Definition.of(row.definition)
        except NotUnderstood as error:
            _pass(row.pk, passed, error)
            continue
        if row.next_at is None:
            continue
        taken = step(definition.timing, row.next_at, now, definition.catches_up)
        living, through = _living(row, now) if taken.tick and definition.skips else (False, row.final_through)
        guarded = Schedule.objects.filter(pk=row.pk, revision=row.revision, next_at=row.next_at)
        if not guarded.update(next_at=row.next_at if living is None else taken.next_at, final_through=through):
            raise DatabaseError("a locked schedule changed: does another program write to this table?")
        if living is None:
            continue
        if taken.missed is not None:
            _note_missed(row.pk, definition.timing, taken.missed, now)
        if taken.tick is not None:
            ticks.append(Tick(row.pk, definition, taken.tick))
            if living:
                skipped.add(row.pk)
    # A line is there already if the database's clock was set back and the schedule changed since.
    lines = Firing.objects.filter(schedule__in={tick.schedule for tick in ticks})
    known = set(lines.filter(scheduled_for__in={tick.at for tick in ticks}).values_list("schedule", "scheduled_for"))
    making = list[Tick]()
    for tick in ticks:
        if (tick.schedule, tick.at) in known:
            continue
        if tick.schedule in skipped:
            _note([_line(tick, now, Outcome.SKIPPED, "a task of the schedule is not final")])
        elif why := refusals.of(tick.schedule, tick.definition.task.task_type, len(making)):
            _note([_line(tick, now, Outcome.REFUSED, why)])
        else:
            making.append(tick)
    if making:
        make(making, now)
    return len(making)


def _living(row: Schedule, now: datetime) -> tuple[bool | None, int | None]:
    """Whether a task of a schedule is not final, and the position up to which all are final for good.

    None: it has so many that this is not known yet; go on from that position.
    """
    through, settled_before = row.final_through, now - timedelta(seconds=FINAL_SECONDS)
    after, settled = through, True
    while True:
        tasks = list(Task.objects.of_schedule(row.pk, after).values_list("position", "completed_at")[:MAX_FINAL])
        for position, completed_at in tasks:
            if completed_at is None:
                return True, through
            settled &= completed_at < settled_before
            if settled:
                through = position
        if len(tasks) < MAX_FINAL:
            return False, through
        if settled:
            return None, through
        after = position


def make(ticks: Sequence[Tick], now: datetime, by: str | None = None) -> list[UUID]:
    """Store the tasks of ticks, with their lines, in the caller's write transaction. `by`: who runs it by hand."""
    new = [tick.definition.new_task(tick.schedule, tick.at, delayed=by is None) for tick in ticks]
    submitted = submit_now(Submission(new))
    taken = submitted.existing or [False] * len(new)
    _note(
        [
            _line(tick, now, Outcome.SKIPPED, "a task with its unique_key is not final", task, by)
            if has_key
            else _line(tick, now, Outcome.MADE, "", task, by)
            for tick, task, has_key in zip(ticks, submitted.ids, taken, strict=True)
        ]
    )
    return submitted.ids


def _line(
    tick: Tick, now: datetime, outcome: Outcome, reason: str, task: UUID | None = None, by: str | None = None
) -> Firing:
    return Firing(
        schedule=tick.schedule, scheduled_for=tick.at, outcome=outcome, at=now, task=task, reason=reason, by=by
    )


def _note(lines: Sequence[Firing]) -> None:
    """Write the lines of ticks, in the caller's write transaction."""
    Firing.objects.bulk_create(lines)
    for line in lines:
        _count(line.schedule, Outcome(line.outcome), 1)


def _note_missed(schedule: str, timing: Timing, missed: tuple[datetime, datetime, int], now: datetime) -> None:
    """Write one line for them, or let the last line go on with them."""
    first, last, count = missed
    line = Firing.objects.filter(schedule=schedule).order_by("-scheduled_for").first()
    if line is not None and line.outcome == Outcome.MISSED and timing.next(line.until or line.scheduled_for) == first:
        Firing.objects.filter(pk=line.pk).update(until=last, count=line.count + count, at=now)
    else:
        values = {"outcome": Outcome.MISSED, "at": now, "until": last, "count": count, "reason": WHY_MISSED}
        # As a tick, the first may have its line already.
        if not Firing.objects.get_or_create(values, schedule=schedule, scheduled_for=first)[1]:
            return
    _count(schedule, Outcome.MISSED, count)


def _count(schedule: str, outcome: Outcome, count: int) -> None:
    transaction.on_commit(lambda: process.add(f"schedule_firings|{schedule}|{outcome}", count))


#: Schedules that `/health` names.
MAX_NAMED = 5


def late() -> list[str]:
    """The schedules that did not fire in time, in sentences. Raises DatabaseError."""
    overdue = Schedule.objects.filter(next_at__lt=Now() - timedelta(seconds=OVERDUE_SECONDS)).order_by("next_at")
    rows = list(overdue[: MAX_NAMED + 1])
    if not rows:
        return []
    now = store().moment()[1]
    sentences = [
        f"schedule '{row.name}' did not fire at {moment_text(row.next_at)}, {span(now - row.next_at)} ago"
        for row in rows[:MAX_NAMED]
        if row.next_at is not None
    ]
    return [*sentences, *(["more schedules did not fire in time"] if len(rows) > MAX_NAMED else [])]


#: The ledger keeps a line for so many days, and so many lines of a schedule.
KEEP_DAYS, MAX_LINES = 90, 10_000
#: Between two looks for lines that are too many or too old; of each, how many lines and schedules.
PRUNE_SECONDS, PRUNE_LINES, PRUNE_SCHEDULES = 60.0, 2_000, 50


def prune(after: str = "", lines: int = MAX_LINES) -> str:
    """Remove old lines, and those beyond `lines` of some schedules, whose names follow a name; see `_bring_back`.

    Returns the last of these names, blank after all. Raises DatabaseError.
    """
    _remove(Firing.objects.filter(at__lt=Now() - timedelta(days=KEEP_DAYS)).order_by("at"))
    names = list(Schedule.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:PRUNE_SCHEDULES])
    for name in names:
        kept = Firing.objects.filter(schedule=name).order_by("-scheduled_for")
        _remove(kept[lines : lines + PRUNE_LINES])
    _bring_back(names)
    return names[-1] if len(names) == PRUNE_SCHEDULES else ""


def _bring_back(names: list[str]) -> None:
    """None of them waits longer than until its next tick from now, as after the database's clock was ahead."""
    now = store().moment()[1]
    for row in Schedule.objects.filter(pk__in=names, next_at__gt=now):
        try:
            tick = Definition.of(row.definition).timing.next(now)
        except NotUnderstood:
            continue
        if row.next_at is not None and tick < row.next_at:
            with writing():
                Schedule.objects.filter(pk=row.pk, revision=row.revision, next_at=row.next_at).update(next_at=tick)


def _remove(rows: QuerySet[Firing]) -> None:
    if keys := list(rows.values_list("pk", flat=True)[:PRUNE_LINES]):
        with writing():
            Firing.objects.filter(pk__in=keys).delete()
