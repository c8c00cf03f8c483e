"""What is known about a task that does not run, runs or has ended. Plain values, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from tasks_app.handlers.words import plural, span
from tasks_app.queue.attempt import Selection

# A reason: a word for programs, a sentence for people, and the values of the sentence.

Value = str | int | float | datetime | list[str] | None


class Word(StrEnum):
    """What may keep a task from running, or what became of it."""

    SCHEDULED = "scheduled"
    RETRY = "retry"
    PAUSED = "paused"
    NO_NODE = "no_node"
    CANNOT_START = "cannot_start"
    STARTING = "starting"
    CAP = "cap"
    BEHIND = "behind"
    READY = "ready"
    RUNNING = "running"
    LOST = "lost"
    FINAL = "final"


@dataclass(frozen=True)
class Reason:
    """`sentence` begins with a small letter and has no full stop. `values`: by the names that the API gives them."""

    reason: Word
    sentence: str
    values: Mapping[str, Value] = field(default_factory=dict)


def as_text(reasons: Sequence[Reason]) -> str:
    """All reasons in one sentence."""
    return "; ".join(reason.sentence for reason in reasons)


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


# When a queued task is likely to start, from the attempts of its type that ended last. Plain values, no database.
# While a task waits, its type has more tasks than slots. So the attempts that ended since it became ready give the
# rate of all slots together. If there are too few of them, the mean time of an attempt gives it: a slot that is free
# takes the next task at once.

#: Attempts that ended earlier count only if there are fewer than MIN_ATTEMPTS later ones.
RECENT_SECONDS = 300.0
MIN_ATTEMPTS = 10
#: So many attempts, and so many for each slot, must have ended since the task became ready for their rate to be used.
MIN_FOR_RATE, MIN_FOR_RATE_PER_SLOT = 20, 3
#: More are not used: the rate may have been another one earlier, or zero while no node lived.
MAX_FOR_RATE = 200


class Ended(NamedTuple):
    """An attempt that ended: how long it took from its claim to its record, and how long ago it ended; seconds."""

    took: float
    ago: float


class Estimate(NamedTuple):
    """`seconds` until the task starts, and `source`: from what they were computed."""

    seconds: float
    source: str


def estimate(before: int, slots: int, ready_for: float, ended: Sequence[Ended]) -> Estimate | None:
    """When a task starts that has so many before it, with so many `slots` that all run tasks; None: unknown.

    `ready_for`: for how many seconds the task has been ready. `ended`: the newest first.
    """
    if not slots or not ended:
        return None
    since = [each for each in ended if each.ago < ready_for][: max(MAX_FOR_RATE, MIN_FOR_RATE_PER_SLOT * slots)]
    if len(since) >= max(MIN_FOR_RATE, MIN_FOR_RATE_PER_SLOT * slots):
        within = since[-1].ago
        between = within / (len(since) - 1)
        source = f"{len(since)} attempts of this type ended in the last {span(within)}, while this task waited"
    else:
        recent = [each for each in ended if each.ago <= RECENT_SECONDS]
        used = recent if len(recent) >= MIN_ATTEMPTS else ended[:MIN_ATTEMPTS]
        mean = sum(each.took for each in used) / len(used)
        between = mean / slots
        which, average = (
            ("the last attempt", "") if len(used) == 1 else (f"the last {len(used)} attempts", " on average")
        )
        source = f"{which} of this type took {span(mean)}{average}; {slots} {plural(slots, 'slot')}"
    rounds, rest = divmod(before, slots)
    seconds = rounds * between * slots + _until_free(between * slots, slots, ended)[rest]
    return Estimate(max(seconds, between / 2), source)


def _until_free(took: float, slots: int, ended: Sequence[Ended]) -> list[float]:
    """When each slot is likely to be free, the first one first.

    A slot began its task when its last one ended, so the last ends tell when the running attempts began. Slots without
    one began at unknown times: they end evenly spread.
    """
    known = [max(took - each.ago, 0.0) for each in ended[:slots]]
    unknown = slots - len(known)
    return sorted([*known, *(took * (n + 1) / (unknown + 1) for n in range(unknown))])
