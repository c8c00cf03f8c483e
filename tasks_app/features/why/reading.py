"""Reads the facts about one task. Each query reads few rows, however many are stored."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import OuterRef, Subquery

from tasks_app import conf
from tasks_app.features.why.facts import MAX_BEFORE, Ended, Facts, NodeFacts, Pause, TaskFacts
from tasks_app.metrics.system_reading import SILENCE_SECONDS, SystemReading, current_reading, living
from tasks_app.queue import clock
from tasks_app.queue.current import store
from tasks_app.queue.models import Attempt, Status, Task
from tasks_app.queue.node_models import HandlerPause, Node

#: The attempts that ended last, of all types, among which those of the task's type are looked for, and how many of them
#: are used.
MAX_ATTEMPTS_READ, MAX_ATTEMPTS_USED = 10_000, 500
_COLUMNS = (
    "pk", "task_type", "priority", "position", "status", "attempts", "retries", "max_retries", "due", "due_at", "clock",
    "ready_at", "node", "started_at", "timeout", "completed_at", "failure_reason", "last_error",
)  # fmt: skip


def read(task_id: UUID) -> Facts | None:
    """The facts; None if there is no such task. Raises DatabaseError."""
    row = Task.objects.filter(pk=task_id).only(*_COLUMNS).first()
    if row is None:
        return None
    seconds, now = clock.moment()
    task = _task(row, seconds, now)
    if row.status == Status.PENDING:
        return _of_waiting(row, task, now)
    if row.status == Status.PROCESSING:
        return _of_running(row, task, now)
    return Facts(task)


def _task(row: Task, seconds: float, now: datetime) -> TaskFacts:
    due_in = None
    if row.due is not None:
        same = row.clock == clock.clock_id()
        due_in = row.due - seconds if same or row.due_at is None else _seconds(row.due_at - now)
    ran_for = None if row.started_at is None else _seconds((row.completed_at or now) - row.started_at)
    return TaskFacts(
        row.task_type, row.status, row.attempts, row.retries, row.max_retries, row.due_at, due_in,
        max(_seconds(now - row.ready_at), 0.0), row.node, row.started_at, ran_for, row.timeout, row.completed_at,
        row.failure_reason, row.last_error,
    )  # fmt: skip


def _of_waiting(row: Task, task: TaskFacts, now: datetime) -> Facts:
    reading, order = current_reading(), conf.environment().task_selection
    nodes = _nodes(row.task_type, reading)
    waits_for_a_slot = row.due is None and any(node.warm and not node.draining for node in nodes)
    paused = _pause(row.task_type)
    before, ended = 0, []
    if waits_for_a_slot:
        before = store().queued_before(row.task_type, row.priority, row.position, order, MAX_BEFORE + 1)
        ended = _ended(row.task_type, now)
    known = row.task_type in conf.handlers()
    return Facts(task, nodes, len(reading.nodes), known, before, order, ended, paused=paused)


def _pause(task_type: str) -> Pause | None:
    found = HandlerPause.objects.of(task_type)
    return None if found is None else Pause(found.paused_by, found.paused_at, found.until)


def _nodes(task_type: str, reading: SystemReading) -> list[NodeFacts]:
    running: dict[str, int] = {}
    for (_, name), count in reading.running.items():
        running[name] = running.get(name, 0) + count
    return [
        NodeFacts(
            pool["slots"], pool["warm"], reading.running.get((task_type, node.name), 0), running.get(node.name, 0),
            pool.get("cap"), pool["problem"], not node.taking, node.drain_requested_by,
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
    return [Ended(max(_seconds(ended - started), 0.0), max(_seconds(now - ended), 0.0)) for started, ended in rows]


def _of_running(row: Task, task: TaskFacts, now: datetime) -> Facts:
    reading = current_reading()
    alive = reading.nodes
    if row.node not in {node.name for node in alive}:
        alive = living()  # a node that is newer than the reading
    lives = row.node in {node.name for node in alive}
    silent = None
    if not lives:
        seen = Node.objects.filter(pk=row.node, stopped_at=None).values_list("seen_at", flat=True).first()
        silence = None if seen is None else _seconds(now - seen)
        # One that is silent for a shorter time does not count as living if it was seen to be dead.
        silent = silence if silence is not None and silence >= SILENCE_SECONDS else None
    return Facts(task, living=len(alive), node_lives=lives, silent=silent)


def _seconds(duration: timedelta) -> float:
    return duration.total_seconds()
