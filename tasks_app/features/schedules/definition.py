"""What a schedule makes, and when: its definition, and the moments at which it fires.

Those are pure functions of its cron line or interval, its time zone and a moment. A tick is a nominal moment, in UTC
and whole seconds. In a time zone with a change of the clock, a time of day that does not exist becomes the first moment
after it, and one that comes twice is its first one. A cron line of every hour follows the time that passes: it fires in
both of the repeated hours.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from cronsim.cronsim import SYMBOLIC_DAYS, SYMBOLIC_MONTHS, Field

from tasks_app import conf
from tasks_app.field import Faults
from tasks_app.handlers.words import duration, nearest, plural
from tasks_app.options.known import given
from tasks_app.queue.submission import NewTask, TaskOptions, with_derived

OVERLAP, CATCH_UP = ("allow", "skip"), ("one", "none")


class NotUnderstood(ValueError):
    """A newer version wrote this definition, and this version does not know what it means."""


@dataclass(frozen=True)
class Definition:
    """What a schedule makes and when.

    `given`: the JSON object of it, without what it leaves out. `skips`: a tick makes no task while a task of the
    schedule is not final. `catches_up`: the last tick that was missed makes its task later. `jitter`: seconds that its
    tasks may be delayed. `enabled`: it fires.
    """

    given: Mapping[str, Any]
    timing: Timing
    task: NewTask
    skips: bool
    catches_up: bool
    jitter: float
    enabled: bool

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Definition:
        """The definition of a JSON object that was checked. Raises NotUnderstood."""
        try:
            return cls._of(given)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotUnderstood(str(error)) from error

    @classmethod
    def _of(cls, given: Mapping[str, Any]) -> Definition:
        rest = dict(given)
        take = rest.pop
        cron, every, zone = take("cron", None), take("every", None), zone_of(take("timezone", "UTC"))
        timing = Timing(None if cron is None else cron_of(cron), None if every is None else every_of(every), zone)
        task = NewTask(take("type"), take("data", {}), take("priority", 50), _options(rest))
        overlap, catch_up = take("overlap", "allow"), take("catch_up", "one")
        if overlap not in OVERLAP or catch_up not in CATCH_UP:
            raise ValueError("another value of overlap or catch_up")
        jitter, enabled = float(take("jitter", 0.0)), bool(take("enabled", True))
        if rest:
            raise ValueError(f"unknown: {', '.join(sorted(rest))}")
        return cls(given, timing, task, overlap == "skip", catch_up != "none", jitter, enabled)

    @property
    def hash(self) -> str:
        """A SHA-256 in hex of all that was given."""
        return hashlib.sha256(json.dumps(self.given, sort_keys=True).encode()).hexdigest()

    def new_task(self, schedule: str, tick: datetime, delayed: bool = True) -> NewTask:
        """The task of a tick. `delayed`: by the jitter."""
        delay = random.uniform(0.0, self.jitter) if delayed and self.jitter else None
        ours = {"delay": delay, "schedule": schedule, "scheduled_for": tick}
        options = TaskOptions.asked({**(self.task.options or {}), **ours})
        faults: Faults = []
        derived = with_derived(options, conf.handlers().get(self.task.task_type), self.task.task_data, faults)
        return replace(self.task, options=options if faults else derived)


def _options(rest: dict[str, Any]) -> TaskOptions | None:
    """The options that it gives to each of its tasks, taken out of a definition."""
    faults: Faults = []
    values = {
        name: option.reads().read(name, value, faults)
        for name, option in given().items()
        if option.lasting and (value := rest.pop(name, None)) is not None
    }
    if faults:
        raise ValueError(faults[0][1])
    return TaskOptions.asked(values)


# What its fields are: a cron line, an interval, a time zone.

NICKNAMES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
MAX_CRON_CHARS = 200
#: In hours: no clock is set back further.
LONGEST_CHANGE = 3
#: A year.
MAX_EVERY_SECONDS = 31_536_000
CRON = f"5 fields (minute hour day-of-month month day-of-week) or one of {', '.join(NICKNAMES)}"
EVERY = "a whole number with its unit (s, m, h, d or w) such as 15m, from 1s to 365d"
_VALID = {
    Field.MINUTE: "0 to 59", Field.HOUR: "0 to 23", Field.DAY: "1 to 31, L or LW", Field.MONTH: "1 to 12 or JAN to DEC",
    Field.DOW: "0 to 7 (0 and 7 are Sunday) or SUN to SAT",
}  # fmt: skip
_NAMES = ("minute", "hour", "day of month", "month", "day of week")


def cron_of(text: str) -> str:
    """The cron line of a text. Raises ValueError with what is wrong, as the end of a sentence about it."""
    if text.startswith("@"):
        if text.lower() not in NICKNAMES:
            close = nearest(text, NICKNAMES)
            raise ValueError(f"must be {CRON}, not {text[:40]}" + (f"; did you mean {close}?" if close else ""))
        return text.lower()
    if len(text) > MAX_CRON_CHARS:
        raise ValueError(f"must have at most {MAX_CRON_CHARS} characters, not {len(text):,}")
    parts = text.upper().split()
    if len(parts) != 5:
        six = "; there is no field for seconds: use every" if len(parts) == 6 else ""
        raise ValueError(f"must be {CRON}, not {len(parts)} {plural(len(parts), 'field')}{six}")
    for field, name, part in zip(_VALID, _NAMES, parts, strict=True):
        try:
            field.parse(part)
        except (CronSimError, AssertionError, RecursionError):
            raise ValueError(_field_fault(field, name, part)) from None
    line = " ".join(parts)
    try:
        next(CronSim(line, datetime(2000, 1, 1)))  # noqa: DTZ001 (a time of day, of no zone)
    except (CronSimError, StopIteration):
        raise ValueError("names a day that never comes: it would never fire") from None
    return line


def _field_fault(field: Field, name: str, part: str) -> str:
    known = {Field.MONTH: SYMBOLIC_MONTHS, Field.DOW: SYMBOLIC_DAYS}.get(field, [])
    word = "".join(filter(str.isalpha, part))
    close = next((short for short in known if word.startswith(short)), None) or (nearest(word, known) if word else None)
    meant = f"; did you mean {close}?" if close and close != word else ""
    return f"has the {name} {part[:40]}: it must be {_VALID[field]}, or a list, a range or steps of these{meant}"


def every_of(text: str) -> int:
    """The seconds of an interval. Raises ValueError as `cron_of`."""
    seconds = duration(text)
    if seconds is None or not 1 <= seconds <= MAX_EVERY_SECONDS:
        raise ValueError(f"must be {EVERY}, not {text[:40]}")
    return int(seconds)


@cache
def zones() -> frozenset[str]:
    """The names of all time zones, the same on each machine."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def zone_of(text: str) -> str:
    """The name of a time zone. Raises ValueError as `cron_of`."""
    if text in zones():
        return text
    short = {name.rpartition("/")[2].lower(): name for name in sorted(zones(), reverse=True)}
    close = short.get(text.lower().replace(" ", "_")) or nearest(text[:60], zones()) or nearest(text[:60], short)
    close = short.get(close or "", close)
    raise ValueError(
        f"must be the IANA name of a time zone such as Europe/Berlin, not {text[:60]}"
        + (f"; did you mean {close}?" if close else "")
    )


# When it fires.


class Missed(NamedTuple):
    """Ticks in a row: the first, the last, the one before the last (the first, if it is alone), how many, and the tick
    after them."""

    first: datetime
    last: datetime
    before_last: datetime
    number: int
    following: datetime


class Timing(NamedTuple):
    """When a schedule fires: a valid cron line in a time zone, or each `every` seconds, counted from 1970 in UTC."""

    cron: str | None = None
    every: int | None = None
    timezone: str = "UTC"

    def next(self, moment: datetime) -> datetime:
        """The first tick after a moment."""
        return next(self.after(moment))

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks after a moment."""
        if self.every is not None:
            number = int(moment.timestamp() // self.every)
            while True:
                number += 1
                yield datetime.fromtimestamp(number * self.every, UTC)
        # The start is before the moment, and several missing times become one.
        last = moment
        for tick in self._near(moment):
            if tick > last:
                yield tick
                last = tick

    def _near(self, moment: datetime) -> Iterator[datetime]:
        """The ticks from some time before a moment on."""
        zone = ZoneInfo(self.timezone)
        # In an hour that is repeated, times of day before this one come again.
        times = CronSim(self._line, moment.astimezone(zone).replace(tzinfo=None) - timedelta(hours=LONGEST_CHANGE))
        every_hour = len(times.hours) == 24
        again: deque[datetime] = deque()
        for naive in times:
            first, second = (naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            if first.astimezone(zone).replace(tzinfo=None) != naive:
                if not every_hour:
                    yield _first_after(naive, zone)
                continue
            while again and again[0] < first:
                yield again.popleft()
            yield first
            if every_hour and second > first:
                again.append(second)

    @property
    def _line(self) -> str:
        return NICKNAMES.get(self.cron or "", self.cron or "")

    def missed(self, first: datetime, before: datetime, most: int) -> Missed:
        """The ticks from the tick `first` on that are before a moment; of a cron line at most so many of them."""
        if self.every is not None:
            count = max(-int((first - before).total_seconds() // self.every), 1)
            step = timedelta(seconds=self.every)
            last = first + (count - 1) * step
            return Missed(first, last, max(last - step, first), count, last + step)
        last = before_last = first
        count = 1
        for tick in self.after(first):
            if tick >= before or count == most:
                return Missed(first, last, before_last, count, tick)
            last, before_last, count = tick, last, count + 1
        raise AssertionError("a valid line has no last tick")

    def shortest_gap(self, moment: datetime) -> float:
        """The least seconds between two ticks within the year after a moment; infinite if there is one tick at most."""
        if self.every is not None:
            return float(self.every)
        pattern = CronSim(self._line, datetime(2000, 1, 1))  # noqa: DTZ001 (a time of day, of no zone)
        times = sorted(hour * 3600 + minute * 60 for hour in pattern.hours for minute in pattern.minutes)
        zone, begin = ZoneInfo(self.timezone), moment.astimezone(ZoneInfo(self.timezone)).date()
        days = [day for day in (begin + timedelta(n) for n in range(368)) if _matches(pattern, day)]
        gaps = [float(b - a) for a, b in pairwise(times)] if days else []
        overnight = 86_400 + times[0] - times[-1]
        gaps += [float((b - a).days * 86_400 + overnight - 86_400) for a, b in pairwise(days)]
        for change in _changes(begin, zone):
            begun, until = change - timedelta(hours=30), change + timedelta(hours=30)
            near = [tick for tick in self._until(begun, until) if tick > moment]
            gaps += [(b - a).total_seconds() for a, b in pairwise(near)]
        return min(gaps, default=float("inf"))

    def _until(self, begun: datetime, until: datetime) -> Iterator[datetime]:
        for tick in self.after(begun):
            if tick > until:
                return
            yield tick


def _matches(pattern: CronSim, day: date) -> bool:
    return day.month in pattern.months and pattern.match_day(day)


def _first_after(naive: datetime, zone: ZoneInfo) -> datetime:
    """The first moment after a time of day that does not exist."""
    while True:
        naive += timedelta(minutes=1)
        moment = naive.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == naive:
            return moment


def _changes(begin: date, zone: ZoneInfo) -> Iterator[datetime]:
    """The days of a year, as moments, on which the clock is changed."""
    noon = datetime(begin.year, begin.month, begin.day, 12, tzinfo=UTC)
    for number in range(368):
        day = noon + timedelta(days=number)
        if day.astimezone(zone).utcoffset() != (day - timedelta(days=1)).astimezone(zone).utcoffset():
            yield day - timedelta(hours=12)
