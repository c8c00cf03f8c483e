"""What is known about a task that does not run, runs or has ended. Plain values, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks_app.store.claimed_task import Selection
from tasks_app.why.estimate import Ended


@dataclass(frozen=True)
class TaskFacts:
    """The task. Durations are in seconds, at the moment of the reading.

    `due_in`: until its start or its retry, negative if that has passed; None: it waits for no time. `ready_for`: since
    it became ready. `ran_for`: since the start of its attempt, or from the start of its last one to its end.
    """

    task_type: str
    status: str
    attempts: int = 0
    retries: int = 0
    max_retries: int | None = None
    due_at: datetime | None = None
    due_in: float | None = None
    ready_for: float = 0.0
    node: str | None = None
    started_at: datetime | None = None
    ran_for: float | None = None
    timeout: float | None = None
    completed_at: datetime | None = None
    failure_reason: str | None = None
    last_error: str | None = None


@dataclass(frozen=True)
class NodeFacts:
    """A living node that serves the task's type. `active`: its tasks of the type; `running`: all its tasks.

    `draining`: it takes no more tasks; `drained_by`: the operator who asked for that, None if it ends.
    """

    slots: int
    warm: int
    active: int = 0
    running: int = 0
    cap: int | None = None
    problem: str | None = None
    draining: bool = False
    drained_by: str | None = None

    @property
    def capped(self) -> bool:
        """True if it runs as many tasks as it may."""
        return self.cap is not None and self.running >= self.cap

    @property
    def free(self) -> int:
        """How many more tasks of the type it can start now."""
        free = self.warm - self.active
        return max(free if self.cap is None else min(free, self.cap - self.running), 0)


@dataclass(frozen=True)
class Pause:
    """The pause of a type: by whom, since when, and until when; None: until it is resumed."""

    by: str
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """`nodes`: those that serve the type; `living`: how many live in all. `known`: handlers.toml has the type.

    `before`: how many tasks start before this one, at most `MAX_BEFORE` + 1. `ended`: attempts of the type, the newest
    first. `silent`: the task's node does not live: for how many seconds it has been silent, or None if it has stopped
    or was killed.
    """

    task: TaskFacts
    nodes: Sequence[NodeFacts] = ()
    living: int = 0
    known: bool = True
    before: int = 0
    order: Selection = "fifo"
    ended: Sequence[Ended] = ()
    node_lives: bool = True
    silent: float | None = None
    paused: Pause | None = None


#: Places are exact up to here.
MAX_BEFORE = 10_000
