"""A task's history as a list of moments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.admin.models import LogEntry

from tasks_app.admin.text import line
from tasks_app.metrics.span import span
from tasks_app.models import Attempt, AuditEntry, Status, Task

NONE = timedelta()
#: What an operator may change in a task, as the audit log names it.
CHANGEABLE = ("data", "priority")
MAX_EDIT_CHARS = 300


@dataclass(frozen=True)
class Moment:
    """An event, past or expected. `tone`: its colour; `since`: how long after the previous one."""

    at: datetime | None
    what: str
    detail: str = ""
    tone: str = "plain"
    since: str = ""


def timeline(
    task: Task, attempts: Sequence[Attempt], entries: Iterable[LogEntry], edits: Iterable[AuditEntry], now: datetime
) -> list[Moment]:
    """From the task's creation to its end, or to what it waits for."""
    # In causal order rather than by time: moments of one commit come from several clocks.
    known = [(task.created_at, "created", f"priority {task.priority}", "plain")]
    for one in attempts:
        known.append((one.started_at, f"attempt {one.number} started", _node(one.node, one.wait_seconds), "plain"))
        tone = "completed" if one.outcome == "success" else "failed"
        known.append((one.ended_at, _outcome(one), line(one.error, 300), tone))
    if task.status == Status.PROCESSING and task.started_at:
        where = _node(task.node, task.wait_seconds)
        known.append((task.started_at, f"attempt {task.attempts} started", where, "processing"))
    if task.status == Status.PENDING and task.due_at is None and task.ready_at > task.created_at:
        known.append((task.ready_at, "ready again" if task.attempts else "ready", "", "plain"))
    if task.completed_at is not None:
        reason = (task.failure_reason or "").replace("_", " ")
        known.append((task.completed_at, task.status, reason, task.status))
    for at, action, detail in sorted([*_actions(entries), *_edits(edits)]):
        known.insert(_index(known, at, action), (at, action, detail, "plain"))
    moments, before = [], None
    for at, what, detail, tone in known:
        moments.append(Moment(at, what, detail, tone, f"{span(max(at - before, NONE))} later" if before else ""))
        before = at
    return moments + _next(task, now)


def _actions(entries: Iterable[LogEntry]) -> Iterator[tuple[datetime, str, str]]:
    for entry in entries:
        yield entry.action_time, entry.change_message.lower(), f"by {line(entry.user.get_username())}"


def _edits(edits: Iterable[AuditEntry]) -> Iterator[tuple[datetime, str, str]]:
    """What was changed, with the values before and after."""
    for edit in edits:
        for name in CHANGEABLE:
            if (pair := edit.details.get(name)) is not None:
                before, after = (line(str(value), MAX_EDIT_CHARS) for value in pair)
                yield edit.at, f"{name} changed", f"by {line(edit.actor)}: {before} → {after}"


def _index(known: Sequence[tuple[datetime, str, str, str]], at: datetime, action: str) -> int:
    """Where to insert an operator's action: by time, but a cancel goes before the ends that it caused."""
    index = next((nth for nth, (moment, *_) in enumerate(known) if moment > at), len(known))
    while action == "cancelled" and index and "cancelled" in " ".join(known[index - 1][1:3]):
        index -= 1
    return index


def _node(node: str | None, wait: float | None) -> str:
    waited = "" if wait is None else f", after {span(wait)} of waiting for a slot"
    return f"on node {line(node)}{waited}"


def _outcome(one: Attempt) -> str:
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
        if not task.attempts:
            return [Moment(task.due_at, f"scheduled {when}", "", "pending")]
        return [Moment(task.due_at, f"next retry {when}", f"{task.retries} spent", "pending")]
    return []
