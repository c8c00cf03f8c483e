"""Each node makes the tasks of ticks that are due, and keeps the ledger of what became of each tick.

A tick is one transaction, which moves the schedule's row on, stores the task and writes the line. The row is locked and
its update is guarded on what was read, so that of all nodes one fires a tick. Times are the database's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from django.db import DatabaseError, DataError, Error, IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.db.write_health import first_line
from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.models import Firing, Outcome, Schedule
from tasks_app.features.schedules.timing import Missed, Timing
from tasks_app.handlers.words import moment_text, span
from tasks_app.logs.rate_limit import REMINDER_SECONDS, LogOnce
from tasks_app.metrics.local_counters import process
from tasks_app.metrics.system_reading import current_reading
from tasks_app.process.fail_points import fail_point
from tasks_app.queue.current import store, writing
from tasks_app.queue.models import Task
from tasks_app.queue.submission import Submission
from tasks_app.queue.submit import submit_now

log = structlog.get_logger(__name__)

#: A tick that is later than this was missed.
LATE_SECONDS = 10.0
#: A schedule whose tick is later than this is a problem: no node fires it.
OVERDUE_SECONDS = 15.0
#: Missed ticks of a cron line that one transaction counts.
MAX_MISSED = 2_000
#: Of a beat.
TURN_SECONDS = 0.5
_log_once = LogOnce(REMINDER_SECONDS)


class Step(NamedTuple):
    """What is next for a schedule that is due: ticks that were missed, a tick that makes a task, the one after them."""

    next_at: datetime
    tick: datetime | None
    missed: tuple[datetime, datetime, int] | None = None


def step(timing: Timing, due: datetime, now: datetime, catches_up: bool, most: int = MAX_MISSED) -> Step:
    """The next step of a schedule whose tick `due` has come. `most`: missed ticks that one step counts."""
    before = now - timedelta(seconds=LATE_SECONDS)
    if due >= before:
        return Step(timing.next(due), due)
    missed: Missed = timing.missed(due, before, most)
    # The last tick that was missed, after which one comes that was not.
    if not catches_up or missed.following < before:
        return Step(missed.following, None, (missed.first, missed.last, missed.number))
    rest = (missed.first, missed.before_last, missed.number - 1) if missed.number > 1 else None
    return Step(missed.following, missed.last, rest)


class Refusals:
    """Why tasks cannot be stored, as of the last reading of the system."""

    def __init__(self) -> None:
        reading, self._most = current_reading(), conf.environment().max_queue
        self._waiting = reading.queue_size
        self._types = {*conf.handlers(), *(name for node in reading.nodes for name in node.pools)}
        self._by_schedule: dict[str, str] = {}

    def of(self, schedule: str, task_type: str) -> str:
        """Why a task cannot be stored, in a sentence; blank if it can."""
        if task_type not in self._types:
            return f'no handler is named "{task_type}"'
        return self._by_schedule.get(schedule, "") or self.full

    @property
    def full(self) -> str:
        """Why no task can be stored."""
        return "" if self._waiting < self._most else f"the queue is full: at most {self._most:,} tasks may wait"

    def stored(self) -> None:
        """A task was stored."""
        self._waiting += 1

    def refused(self, schedule: str, error: Exception) -> bool:
        """The database refuses the next task of a schedule; false if that was known."""
        known = schedule in self._by_schedule
        self._by_schedule[schedule] = f"the database refuses its task: {first_line(error)}"
        return not known


def fire_due(seconds: float = TURN_SECONDS) -> int:
    """Take the next steps of the schedules that are due, for so long at most.

    Returns how many. Raises DatabaseError.
    """
    if not _due().exists():
        return 0
    until, refusals, passed, steps = store().elapsed() + seconds, Refusals(), set[str](), 0
    # In turn the last that became due and the first: neither waits until all ticks that a downtime missed are counted.
    while store().elapsed() < until and _fire_next(refusals, passed, ("-next_at", "next_at")[steps % 2]):
        steps += 1
    return steps


def _due() -> QuerySet[Schedule]:
    return Schedule.objects.filter(next_at__lte=Now())


def _fire_next(refusals: Refusals, passed: set[str], order: str) -> bool:
    """The next step of the first schedule in an order that is due and not in `passed`. False: there is none."""
    name = ""
    try:
        with writing():
            rows = _due().exclude(pk__in=passed).order_by(order, "pk").select_for_update(skip_locked=True)
            if (row := rows.first()) is None:
                return False
            name = row.pk
            _take_step(row, refusals)
            fail_point("inside_firing")
    except (IntegrityError, DataError) as error:
        if not refusals.refused(name, error):
            _pass(name, passed, error)
    except Error:
        raise
    except Exception as error:  # a definition of a newer version
        _pass(name, passed, error)
    fail_point("after_firing")
    return True


def _pass(name: str, passed: set[str], error: Exception) -> None:
    passed.add(name)
    if _log_once.is_due(name):
        log.error("this node cannot fire a schedule", schedule=name, exc_info=error)


def _take_step(row: Schedule, refusals: Refusals) -> None:
    definition, now = Definition.of(row.definition), store().moment()[1]
    if row.next_at is None:
        return
    taken = step(definition.timing, row.next_at, now, definition.catches_up)
    guarded = Schedule.objects.filter(pk=row.pk, revision=row.revision, next_at=row.next_at)
    if not guarded.update(next_at=taken.next_at):
        raise DatabaseError("a locked schedule changed: does another program write to this table?")
    if taken.missed is not None:
        _note_missed(row.pk, definition.timing, taken.missed, now)
    # It is there already if the database's clock was set back and the schedule changed since.
    if taken.tick is not None and not Firing.objects.filter(schedule=row.pk, scheduled_for=taken.tick).exists():
        if definition.skips and Task.objects.living_of(row.pk).exists():
            note(row.pk, taken.tick, now, Outcome.SKIPPED, "a task of the schedule is not final")
        elif why := refusals.of(row.pk, definition.task.task_type):
            note(row.pk, taken.tick, now, Outcome.REFUSED, why)
        else:
            make(row.pk, definition, taken.tick, now)
            refusals.stored()


def make(schedule: str, definition: Definition, tick: datetime, now: datetime, by: str | None = None) -> UUID:
    """Store the task of a tick, with its line, in the caller's write transaction. `by`: who runs it by hand."""
    submitted = submit_now(Submission([definition.new_task(schedule, tick, delayed=by is None)]))
    task = submitted.ids[0]
    if submitted.existing is not None and submitted.existing[0]:
        note(schedule, tick, now, Outcome.SKIPPED, "a task with its unique_key is not final", task, by)
    else:
        note(schedule, tick, now, Outcome.MADE, "", task, by)
    return task


def note(
    schedule: str,
    tick: datetime,
    now: datetime,
    outcome: Outcome,
    reason: str = "",
    task: UUID | None = None,
    by: str | None = None,
) -> None:
    """Write the line of a tick, in the caller's write transaction."""
    Firing.objects.create(
        schedule=schedule, scheduled_for=tick, outcome=outcome, at=now, task=task, reason=reason, by=by
    )
    _count(schedule, outcome, 1)


def _note_missed(schedule: str, timing: Timing, missed: tuple[datetime, datetime, int], now: datetime) -> None:
    """Write one line for them, or let the last line go on with them."""
    first, last, count = missed
    line = Firing.objects.filter(schedule=schedule).order_by("-scheduled_for").first()
    if line is not None and line.outcome == Outcome.MISSED and timing.next(line.until or line.scheduled_for) == first:
        Firing.objects.filter(pk=line.pk).update(until=last, count=line.count + count, at=now)
    else:
        reason = "no node was there to fire it in time"
        values = {"outcome": Outcome.MISSED, "at": now, "until": last, "count": count, "reason": reason}
        # As a tick, the first may have its line already.
        if not Firing.objects.get_or_create(values, schedule=schedule, scheduled_for=first)[1]:
            return
    _count(schedule, Outcome.MISSED, count)


def _count(schedule: str, outcome: Outcome, count: int) -> None:
    transaction.on_commit(lambda: process.add(f"schedule_firings|{schedule}|{outcome}", count))


def problems() -> list[str]:
    """The schedules that did not fire in time. Raises DatabaseError."""
    late = Schedule.objects.filter(next_at__lt=Now() - timedelta(seconds=OVERDUE_SECONDS)).order_by("next_at")
    rows = list(late[: MAX_NAMED + 1])
    if not rows:
        return []
    now = store().moment()[1]
    sentences = [
        f"schedule '{row.name}' did not fire at {moment_text(row.next_at)}, {span(now - row.next_at)} ago"
        for row in rows[:MAX_NAMED]
        if row.next_at is not None
    ]
    return [*sentences, *(["more schedules did not fire in time"] if len(rows) > MAX_NAMED else [])]


#: Schedules that `/health` names.
MAX_NAMED = 5
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
        except (ValueError, KeyError, TypeError):  # of a newer version
            continue
        if row.next_at is not None and tick < row.next_at:
            with writing():
                Schedule.objects.filter(pk=row.pk, revision=row.revision, next_at=row.next_at).update(next_at=tick)


def _remove(rows: QuerySet[Firing]) -> None:
    if keys := list(rows.values_list("pk", flat=True)[:PRUNE_LINES]):
        with writing():
            Firing.objects.filter(pk__in=keys).delete()
