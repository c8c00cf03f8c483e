"""A task's life as a list of moments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.models import LogEntry

from tasks_app.admin.text import line, span
from tasks_app.models import Attempt, Status, Task


@dataclass(frozen=True)
class Moment:
    """Something that happened, or is about to. `tone`: how it is coloured; `since`: how long after the one before."""

    at: datetime | None
    what: str
    detail: str = ""
    tone: str = "plain"
    since: str = ""


def timeline(task: Task, tries: Sequence[Attempt], entries: Iterable[LogEntry], now: datetime) -> list[Moment]:
    """From its creation to its end, or to what it waits for."""
    known = [(task.created_at, 0, "created", f"priority {task.priority}", "plain")]
    for one in tries:
        known.append((one.started_at, 2, f"attempt {one.number} started", _where(one.node, one.wait_seconds), "plain"))
        tone = "completed" if one.outcome == "success" else "failed"
        known.append((one.ended_at, 3, _ended(one), line(one.error, 300), tone))
    known += [
        (entry.action_time, 4, entry.change_message.lower(), f"by {line(entry.user.get_username())}", "plain")
        for entry in entries
    ]
    if task.status == Status.PROCESSING and task.started_at:
        where = _where(task.node, task.wait_seconds)
        known.append((task.started_at, 2, f"attempt {task.attempts} started", where, "processing"))
    if task.status == Status.PENDING and task.due_at is None and task.ready_at > task.created_at:
        known.append((task.ready_at, 5, "ready again", "", "plain"))
    if task.completed_at is not None:
        reason = (task.failure_reason or "").replace("_", " ")
        known.append((task.completed_at, 6, task.status, reason, task.status))
    known.sort(key=lambda found: found[:2])
    moments, before = [], None
    for at, _, what, detail, tone in known:
        moments.append(Moment(at, what, detail, tone, f"{span(at - before)} later" if before else ""))
        before = at
    return moments + _next(task, now)


def _where(node: str | None, wait: float | None) -> str:
    waited = "" if wait is None else f", after {span(wait)} of waiting for a slot"
    return f"on node {line(node)}{waited}"


def _ended(one: Attempt) -> str:
    said = f"attempt {one.number}: {one.outcome.replace('_', ' ')}"
    took = one.seconds if one.seconds is not None else one.ended_at - one.started_at
    return f"{said} after {span(took)}"


def _next(task: Task, now: datetime) -> list[Moment]:
    if task.status == Status.PROCESSING:
        return [Moment(None, "running", f"for {span(now - task.started_at)}" if task.started_at else "", "processing")]
    if task.status == Status.PENDING:
        if task.due_at is None:
            return [Moment(None, "waits for a free slot", f"for {span(now - task.ready_at)}", "pending")]
        when = f"in {span(task.due_at - now)}" if task.due_at > now else "any moment"
        return [Moment(task.due_at, f"next retry {when}", f"{task.retries} spent", "pending")]
    return []
