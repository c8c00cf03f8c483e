"""A task's history as a list of moments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks_app.admin.text import line
from tasks_app.metrics.span import span
from tasks_app.models import Attempt, AuditEntry, Status, Task

NONE = timedelta()
#: What the audit log's words say of a task that an act has changed.
DONE = {
    "redrive": "redriven", "cancel": "cancelled", "delete": "deleted", "edit": "edited and redriven",
    "priority": "given another priority",
}  # fmt: skip
#: By what way, if it is not the admin.
VIA = {"api": ", an API key", "command": ", by a command"}
#: What an edit changes, as the audit log names it, and how much of it is shown.
CHANGEABLE = ("priority", "data")
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
    task: Task, attempts: Sequence[Attempt], entries: Iterable[AuditEntry], now: datetime, payloads: bool = True
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
    for entry in sorted(entries, key=lambda entry: entry.at):
        action = DONE.get(entry.action, entry.action.replace("_", " "))
        user = f"by {line(entry.actor)}{VIA.get(entry.via, '')}{_changes(entry, payloads)}"
        known.insert(_index(known, entry.at, action), (entry.at, action, user, "plain"))
    moments, before = [], None
    for at, what, detail, tone in known:
        moments.append(Moment(at, what, detail, tone, f"{span(max(at - before, NONE))} later" if before else ""))
        before = at
    return moments + _next(task, now)


def _changes(entry: AuditEntry, payloads: bool) -> str:
    """What an edit changed, before and after. The data is a payload."""
    found = []
    for name in CHANGEABLE:
        if (pair := entry.details.get(name)) is not None and entry.action in ("edit", "priority"):
            before, after = (line(str(value), MAX_EDIT_CHARS) for value in pair)
            found.append(f"{name} {before} → {after}" if name == "priority" or payloads else f"{name} changed")
    return f": {'; '.join(found)}" if found else ""


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
