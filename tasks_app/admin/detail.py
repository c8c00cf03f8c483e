"""What a task's page shows: its texts, its facts, its attempts, its timeline; and the whole of it as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Length, Substr
from django.http import JsonResponse
from django.utils import timezone

from tasks_app.admin.text import MAX_SHOWN_CHARS, Shown, ago, line, listed, log, pretty
from tasks_app.audit import AuditEntry
from tasks_app.feature import Link
from tasks_app.handlers.words import span, utc_text
from tasks_app.logs import harmless
from tasks_app.options.known import stored
from tasks_app.options.option import Line
from tasks_app.queue.large_values import MAX_READ_BYTES, unreadable
from tasks_app.queue.models import DONE, Attempt, Status, Task
from tasks_app.rights import ATTEMPT_PAYLOAD, TASK_PAYLOAD
from tasks_app.runner.endings import OutcomeKind

#: What the audit log's words say of a task that an act has changed.
DONE_OR_EDITED = DONE | {"edit": "edited and redriven"}
#: The JSON columns of a task.
COLUMNS = ("task_data", "metadata", "result")
#: In place of a value that is not read.
TOO_LARGE = f"(not shown: it has more than {MAX_READ_BYTES:,} bytes as text, and an earlier version has stored it)"
#: JSON up to this length is indented; of a longer text the page shows the beginning as it is stored.
MAX_INDENTED_CHARS = 1024 * 1024
#: The last attempts are shown. Each may have 128 KiB of logs.
MAX_ATTEMPTS = 20
#: Lines of the audit log in the timeline.
MAX_ENTRIES = 100
#: Shown characters of an image's digest: `sha256:` and twelve digits, as `docker images` shows.
IMAGE_DIGEST_CHARS = 19
#: Longer metadata is folded.
MAX_UNFOLDED_CHARS = 500


def detail(task: Task, payloads: bool, acts: bool) -> dict[str, Any]:
    """Read one task's details. `payloads`, `acts`: whether the user may see them; what they may not see is not read.

    JSON is read as text, and only in part: a result may have 10 MiB, and be nested deeper than Python parses.
    """
    texts: dict[str, Shown | None] = {}
    known = Attempt.objects.filter(task_id=task.pk).with_command()
    if payloads:
        too_large = unreadable(task.pk, COLUMNS)
        texts = dict.fromkeys(too_large, Shown(TOO_LARGE))
        texts |= _texts(Task.objects.filter(pk=task.pk), [name for name in COLUMNS if name not in too_large])
    rows = list((known if payloads else known.defer(*ATTEMPT_PAYLOAD)).order_by("-number")[:MAX_ATTEMPTS])[::-1]
    for hidden, names in ((task, TASK_PAYLOAD), *((row, ATTEMPT_PAYLOAD) for row in rows)):
        for name in () if payloads else names:
            setattr(hidden, name, "")  # so that nothing on the page reads it after all
    entries = AuditEntry.objects.filter(target=str(task.pk)).order_by("at", "id")[:MAX_ENTRIES]
    now, metadata = timezone.now(), texts.get("metadata")
    return {
        "payloads": payloads,
        "task_type": line(task.task_type),
        "error": harmless((task.last_error or "")[:MAX_SHOWN_CHARS]),
        "facts": _facts(task, now),
        "data": texts.get("task_data") or Shown(""),
        "metadata": metadata,
        "metadata_folded": metadata is not None and metadata.total > MAX_UNFOLDED_CHARS,
        "result": texts.get("result"),
        "moments": timeline(task, rows, entries if acts else (), now, payloads),
        "attempts": [_attempt(row) for row in reversed(rows)],
        "left_out": known.count() - len(rows),
    }


def _texts(tasks: QuerySet[Task], columns: Sequence[str]) -> dict[str, Shown | None]:
    """What a page shows of the JSON columns of one task; None if a column is null."""
    texts = {f"{name}_text": Cast(name, TextField()) for name in columns}
    parts = {f"{name}_part": Substr(f"{name}_text", 1, MAX_INDENTED_CHARS) for name in columns}
    sizes = {f"{name}_length": Length(f"{name}_text") for name in columns}
    row: Any = tasks.annotate(**texts).annotate(**parts, **sizes).values(*parts, *sizes).first() or dict.fromkeys(parts)
    found = ((name, row[f"{name}_part"]) for name in columns)
    return {name: None if part is None else pretty(part, row[f"{name}_length"]) for name, part in found}


_LINES = [(option, option.line) for option in stored() if option.line is not None]
#: One that stands below another option's comes after it.
_LINES = sorted(_LINES, key=lambda pair: pair[1].below in {own.name for _, own in _LINES})


def _facts(task: Task, now: datetime) -> list[tuple[str, str, list[Link]]]:
    """The name of each, and its text or its links."""
    ends = {"completed": "last attempt took", "failed": "last attempt took", "processing": "running for"}
    took = (task.completed_at or now) - task.started_at if task.started_at and task.status in ends else None
    facts: list[tuple[str, str | list[Link]]] = [
        ("Created", _at(task.created_at, now)),
        ("Priority", str(task.priority)),
        ("Attempts", str(task.attempts)),
        ("Retries spent", f"{task.retries}" if task.max_retries is None else f"{task.retries} of {task.max_retries}"),
        ("Timeout", span(task.timeout)),
        ("Node", line(task.node)),
        ("Next retry", _at(task.due_at, now) if task.attempts else ""),
        ("Scheduled", "" if task.attempts else _at(task.due_at, now)),
        ("Ended", _at(task.completed_at, now)),
        (ends.get(task.status, "").capitalize(), span(took)),
    ]
    for option, own in _LINES:
        names = [name for name, _ in facts]
        place = names.index(own.below) + 1 if own.below else len(facts)
        facts.insert(place, (own.name, _shown(own, getattr(task, option.column), now)))
    return [(name, *((value, []) if isinstance(value, str) else ("", value))) for name, value in facts if value]


def _shown(own: Line, value: Any, now: datetime) -> str | list[Link]:
    """An option's value; blank if it has none."""
    if value is None or value == "":
        return ""
    if own.search:
        values = value if isinstance(value, list) else [value]
        return [Link(listed(q=f"{own.search}:{each}"), line(str(each), 300)) for each in values]
    if own.text is not None:
        return own.text(value)
    if isinstance(value, datetime):
        return _at(value, now)
    return line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 300)


def _attempt(row: Attempt) -> dict[str, Any]:
    facts = [
        ("Started", utc_text(row.started_at, "milliseconds")),
        ("Waited for a slot", span(row.wait_seconds)),
        ("Took", span(row.ended_at - row.started_at)),
        ("Handler had it for", span(row.seconds)),
        ("Exit code", "" if row.exit_code is None else str(row.exit_code)),
        ("Killed for memory", "yes, says the engine" if row.oom else ""),
        ("Node", line(row.node)),
        ("Container", line(row.container)),
        ("Image", line(row.image)[:IMAGE_DIGEST_CHARS]),
        ("Command", line(row.command, 200)),
        ("Revision", row.revision or ""),
    ]
    return {
        "number": row.number,
        "outcome": row.outcome,
        "error": harmless(row.error[:MAX_SHOWN_CHARS]),
        "facts": [(name, value) for name, value in facts if value],
        "stdout": log(row.stdout_tail),
        "stderr": log(row.stderr_tail),
        # Its node saves the log once it has stopped the container.
        "log_to_come": row.outcome == OutcomeKind.CANCELLED and not row.container,
    }


def _at(at: datetime | None, now: datetime) -> str:
    return "" if at is None else f"{utc_text(at, 'milliseconds')} ({ago(at, now)})"


# A task's history as a list of moments.

NONE = timedelta()
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
    if task.status == Status.PENDING and task.due is None and task.ready_at > task.created_at:
        known.append((task.ready_at, "ready again" if task.attempts else "ready", "", "plain"))
    if task.completed_at is not None:
        reason = (task.failure_reason or "").replace("_", " ")
        known.append((task.completed_at, task.status, reason, task.status))
    for entry in sorted(entries, key=lambda entry: entry.at):
        action = DONE_OR_EDITED.get(entry.action, entry.action.replace("_", " "))
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
            return [
                Moment(None, "held" if task.held else "waits to start", f"for {span(now - task.ready_at)}", "pending")
            ]
        when = f"in {span(task.due_at - now)}" if task.due_at > now else "any moment"
        if not task.attempts:
            return [Moment(task.due_at, f"scheduled {when}", "", "pending")]
        return [Moment(task.due_at, f"next retry {when}", f"{task.retries} spent", "pending")]
    return []


# A task as JSON for users of the admin, whose browsers have no API key.

EXPORTED_FIELDS = (
    "id", "task_type", "task_data", "status", "priority", "attempts", "retries", "result", "last_error",
    "failure_reason", "created_at", "started_at", "completed_at", "due_at",
    *(option.column for option in stored() if option.in_json), "node",
)  # fmt: skip
#: Each may have 128 KiB of logs.
MAX_JSON_ATTEMPTS = 100


def as_json(pk: UUID, payloads: bool) -> JsonResponse | None:
    """The task with its last attempts; None if there is no such task. Without `payloads`, `withheld` names the fields
    that are left out; `omitted` names those that are too large to be read."""
    left_out = () if payloads else (*TASK_PAYLOAD, *ATTEMPT_PAYLOAD)
    omitted = unreadable(pk, ("task_data", "result")) if payloads else set()
    fields = [name for name in EXPORTED_FIELDS if name not in (*left_out, *omitted)]
    task = Task.objects.filter(pk=pk).values(*fields).first()
    if task is None:
        return None
    columns = [field.column or "" for field in Attempt._meta.concrete_fields]
    shown = [name for name in columns if name not in ("id", "task_id", *left_out)]
    shown.insert(shown.index("exit_code"), "command")
    attempts = Attempt.objects.filter(task_id=pk).with_command().order_by("-number").values(*shown)[:MAX_JSON_ATTEMPTS]
    content = {**task, "tries": list(attempts)} | ({} if payloads else {"withheld": list(left_out)})
    if omitted:
        content["omitted"] = sorted(omitted)
    answer = JsonResponse(content, json_dumps_params={"ensure_ascii": False})
    answer["Content-Disposition"] = f'inline; filename="task-{pk}.json"'
    return answer
