"""What a schedule makes and when."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from tasks_app.features.schedules.timing import Timing, cron_of, every_of, zone_of
from tasks_app.queue.submission import NewTask, TaskOptions

OVERLAP, CATCH_UP = ("allow", "skip"), ("one", "none")
#: The options of a task that a schedule gives to each of its tasks as they are.
OPTIONS = {option.name for option in fields(TaskOptions)} - {
    "delay", "run_at", "expires_at", "tags", "schedule", "scheduled_for", "callback_key"
}  # fmt: skip


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
        tags = tuple(dict.fromkeys(take("tags", ())))
        options = TaskOptions(tags=tags, **{name: take(name) for name in OPTIONS & rest.keys()})
        task = NewTask(take("type"), take("data", {}), take("priority", 50), options)
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
        options = replace(self.task.options or TaskOptions(), delay=delay, schedule=schedule, scheduled_for=tick)
        return replace(self.task, options=options)
