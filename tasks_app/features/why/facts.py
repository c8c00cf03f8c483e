"""What is known about a task that does not run, runs or has ended, and how it is read.

Each query reads few rows, however many are stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import OuterRef, Subquery

from tasks_app import conf
from tasks_app.feature import registered
from tasks_app.metrics.system_reading import SILENCE_SECONDS, SystemReading, current_reading, living
from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store
from tasks_app.queue.held import Hold
from tasks_app.queue.models import Attempt, Status, Task
from tasks_app.queue.node_models import Drain, HandlerPause, Node

#: Places in the queue are exact up to here.
MAX_BEFORE = 10_000
#: The attempts that ended last, of all types, among which those of the task's type are looked for, and how many of them
#: are used.
MAX_ATTEMPTS_READ, MAX_ATTEMPTS_USED = 10_000, 500
_COLUMNS = (
    "pk", "task_type", "priority", "position", "status", "attempts", "retries", "max_retries", "due", "due_at", "clock",
    "ready_at", "node", "started_at", "timeout", "completed_at", "failure_reason", "last_error",
)  # fmt: skip


@dataclass(frozen=True)
class NodeFacts:
    """A living node that serves the task's type. `active`: its tasks of the type; `running`: all its tasks.

    `draining`: it takes no more tasks of the type; `drained`: the drain by which an operator asked for that, None if it
    ends.
    """

    slots: int
    warm: int
    active: int = 0
    running: int = 0
    cap: int | None = None
    problem: str | None = None
    draining: bool = False
    drained: Drain | None = None

    @property
    def capped(self) -> bool:
        """True if it runs as many tasks as it may."""
        return self.cap is not None and self.running >= self.cap

    @property
    def free(self) -> int:
        """How many more tasks of the type it can start now."""
        free = self.warm - self.active
        return max(free if self.cap is None else min(free, self.cap - self.running), 0)


class Ended(NamedTuple):
    """An attempt that ended: how long it took from its claim to its record, and how long ago it ended; seconds."""

    took: float
    ago: float


@dataclass(frozen=True)
class Facts:
    """Durations are in seconds, at the moment of the reading.

    `due_in`: until the task's start or its retry, negative if that has passed; None: it waits for no time. `ready_for`:
    since it became ready. `ran_for`: since the start of its attempt, or from the start of its last one to its end.
    `nodes`: those that serve the type; `living`: how many live in all. `known`: handlers.toml has the type.
    `before`: how many tasks start before this one, at most `MAX_BEFORE` + 1. `ended`: attempts of the type, the newest
    first. `silent`: the task's node does not live: for how many seconds it has been silent, or None if it has stopped
    or was killed. `held`: why features hold the task back.
    """

    task: Task
    due_in: float | None = None
    ready_for: float = 0.0
    ran_for: float | None = None
    nodes: Sequence[NodeFacts] = ()
    living: int = 0
    known: bool = True
    before: int = 0
    order: Selection = "fifo"
    ended: Sequence[Ended] = ()
    node_lives: bool = True
    silent: float | None = None
    paused: HandlerPause | None = None
    held: Sequence[Hold] = ()


def read_facts(task_id: UUID) -> Facts | None:
    """The facts; None if there is no such task. Raises DatabaseError."""
    row = Task.objects.filter(pk=task_id).only(*_COLUMNS).first()
    if row is None:
        return None
    seconds, now = store().moment()
    if row.status == Status.PENDING:
        return _of_waiting(row, seconds, now)
    ran_for = None if row.started_at is None else ((row.completed_at or now) - row.started_at).total_seconds()
    if row.status == Status.PROCESSING:
        return _of_running(row, ran_for, now)
    return Facts(row, ran_for=ran_for)


def _of_waiting(row: Task, seconds: float, now: datetime) -> Facts:
    due_in = None
    if row.due is not None and not row.held:
        same = row.clock == store().clock_id()
        due_in = row.due - seconds if same or row.due_at is None else (row.due_at - now).total_seconds()
    ready_for = max((now - row.ready_at).total_seconds(), 0.0)
    reading, order = current_reading(), conf.environment().task_selection
    nodes = _nodes(row.task_type, reading)
    waits_for_a_slot = row.due is None and any(node.warm and not node.draining for node in nodes)
    paused = HandlerPause.objects.of(row.task_type)
    before, ended, held = 0, [], _held(row)
    if any(hold.before is not None for hold in held):
        ended = _ended(row.task_type, now)
    if waits_for_a_slot:
        before = store().queued_before(row.task_type, row.priority, row.position, order, MAX_BEFORE + 1)
        ended = _ended(row.task_type, now)
    known = row.task_type in conf.handlers()
    return Facts(
        row,
        due_in,
        ready_for,
        None,
        nodes,
        len(reading.nodes),
        known,
        before,
        order,
        ended,
        paused=paused,
        held=held,
    )


def _held(row: Task) -> list[Hold]:
    if not (row.held or row.due is None):
        return []
    return [hold for function in registered("holds") for hold in function([row.pk]).get(row.pk, ())]


def _nodes(task_type: str, reading: SystemReading) -> list[NodeFacts]:
    running: Counter[str] = Counter()
    for (_, name), count in reading.running.items():
        running[name] += count
    return [
        NodeFacts(
            pool["slots"], pool["warm"], reading.running.get((task_type, node.name), 0), running[node.name],
            pool.get("cap"), pool["problem"], not node.takes(task_type),
            node.drain or node.type_drains.get(task_type),
        )
        for node in reading.nodes
        if (pool := node.pools.get(task_type)) is not None
    ]  # fmt: skip


def _ended(task_type: str, now: datetime) -> list[Ended]:
    """The attempts of a type that ended last, the newest first. A primary key's order is that of the ends."""
    last = Attempt.objects.order_by("-pk").values_list("pk", flat=True).first()
    if last is None:
        return []
    # As a join, planners read the whole table of tasks for it.
    of_task = Task.objects.filter(pk=OuterRef("task_id")).values("task_type")[:1]
    rows = (
        Attempt.objects.filter(pk__gt=last - MAX_ATTEMPTS_READ)
        .alias(task_type=Subquery(of_task))
        .filter(task_type=task_type)
        .order_by("-pk")
        .values_list("started_at", "ended_at")[:MAX_ATTEMPTS_USED]
    )
    spans = ((ended - started, now - ended) for started, ended in rows)
    return [Ended(max(took.total_seconds(), 0.0), max(ago.total_seconds(), 0.0)) for took, ago in spans]


def _of_running(row: Task, ran_for: float | None, now: datetime) -> Facts:
    reading = current_reading()
    alive = reading.nodes
    if row.node not in {node.name for node in alive}:
        alive = living()  # a node that is newer than the reading
    lives = row.node in {node.name for node in alive}
    silent = None
    if not lives:
        seen = Node.objects.filter(pk=row.node, stopped_at=None).values_list("seen_at", flat=True).first()
        silence = None if seen is None else (now - seen).total_seconds()
        # One that is silent for a shorter time does not count as living if it was seen to be dead.
        silent = silence if silence is not None and silence >= SILENCE_SECONDS else None
    return Facts(row, ran_for=ran_for, living=len(alive), node_lives=lives, silent=silent)
