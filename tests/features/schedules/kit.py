"""Schedules as calls make them, moved in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tasks_app.audit import Actor
from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.models import Firing, Schedule
from tasks_app.features.schedules.verbs import put
from tasks_app.queue.current import store
from tasks_app.queue.models import Task

ALICE = Actor("admin", "alice")


def schedule(name: str = "nightly", due_before: float | None = None, **given: Any) -> Schedule:
    """A schedule of `echo`, once a year; `due_before`: see `move`."""
    given = {"type": "echo", **({} if given.keys() & {"cron", "every"} else {"every": "365d"}), **given}
    put(name, Definition.of(given), ALICE)
    if due_before is not None:
        move(name, due_before)
    return Schedule.objects.get(pk=name)


def move(name: str, due_before: float) -> datetime:
    """Let the next tick of a schedule be so many seconds ago, or the last one before, if it fires more than hourly."""
    timing = Definition.of(Schedule.objects.get(pk=name).definition).timing
    at = now().replace(microsecond=0) - timedelta(seconds=due_before)
    if timing.every and timing.every >= 3600:
        Schedule.objects.filter(pk=name).update(next_at=at)
        return at
    step = timedelta(days=1) if timing.cron else timedelta(seconds=(timing.every or 0) + 1)
    tick = at
    for tick in timing.after(at - 2 * step):
        if timing.next(tick) > at:
            break
    Schedule.objects.filter(pk=name).update(next_at=tick)
    return tick


def now() -> datetime:
    return store().moment()[1]


def ledger(name: str = "nightly") -> list[tuple[str, int]]:
    """The outcomes of a schedule's lines and how many ticks each stands for, in the order of the ticks."""
    lines = Firing.objects.filter(schedule=name).order_by("scheduled_for")
    return list(lines.values_list("outcome", "count"))


def tasks(name: str = "nightly") -> list[datetime]:
    """The ticks of a schedule's tasks."""
    rows = Task.objects.filter(schedule=name).order_by("scheduled_for")
    return [task.scheduled_for for task in rows if task.scheduled_for is not None]
