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
#: What a definition may have.
KNOWN = OPTIONS | {
    "type", "cron", "every", "timezone", "overlap", "catch_up", "jitter", "enabled", "data", "priority", "tags"
}  # fmt: skip


class NotUnderstood(ValueError):
    """A newer version wrote this definition, and this version does not know what it means."""


@dataclass(frozen=True)
class Definition:
    """What a schedule makes and when. `given`: the JSON object of it, without what it leaves out."""

    given: Mapping[str, Any]
    timing: Timing
    task: NewTask

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Definition:
        """The definition of a JSON object that was checked. Raises NotUnderstood."""
        try:
            return cls._of(given)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotUnderstood(str(error)) from error

    @classmethod
    def _of(cls, given: Mapping[str, Any]) -> Definition:
        if unknown := given.keys() - KNOWN:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        if given.get("overlap", "allow") not in OVERLAP or given.get("catch_up", "one") not in CATCH_UP:
            raise ValueError("another value of overlap or catch_up")
        cron, every = given.get("cron"), given.get("every")
        timing = Timing(
            None if cron is None else cron_of(cron),
            None if every is None else every_of(every),
            zone_of(given.get("timezone", "UTC")),
        )
        tags = tuple(dict.fromkeys(given.get("tags", ())))
        options = TaskOptions(tags=tags, **{name: given[name] for name in OPTIONS if name in given})
        return cls(given, timing, NewTask(given["type"], given.get("data", {}), given.get("priority", 50), options))

    @property
    def skips(self) -> bool:
        """Whether a tick makes no task while a task of the schedule is not final."""
        return bool(self.given.get("overlap") == "skip")

    @property
    def catches_up(self) -> bool:
        """Whether the last tick that was missed makes its task later."""
        return bool(self.given.get("catch_up") != "none")

    @property
    def jitter(self) -> float:
        """Seconds that its tasks may be delayed."""
        return float(self.given.get("jitter", 0.0))

    @property
    def enabled(self) -> bool:
        """Whether it fires."""
        return bool(self.given.get("enabled", True))

    @property
    def hash(self) -> str:
        """A SHA-256 in hex of all that was given."""
        return hashlib.sha256(json.dumps(self.given, sort_keys=True).encode()).hexdigest()

    def new_task(self, schedule: str, tick: datetime, delayed: bool = True) -> NewTask:
        """The task of a tick. `delayed`: by the jitter."""
        delay = random.uniform(0.0, self.jitter) if delayed and self.jitter else None
        options = replace(self.task.options or TaskOptions(), delay=delay, schedule=schedule, scheduled_for=tick)
        return replace(self.task, options=options)
