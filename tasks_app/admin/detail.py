"""Everything that a task's page shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Length, Substr
from django.utils import timezone

from tasks_app.admin.text import MAX_SHOWN_CHARS, Shown, ago, harmless, line, log, pretty
from tasks_app.admin.timeline import Moment, timeline
from tasks_app.metrics.span import span
from tasks_app.models import Attempt, OutcomeKind, Task

#: JSON up to this length is indented; of a longer text the page shows the beginning as it is stored.
MAX_INDENTED_CHARS = 1024 * 1024
#: The last attempts are shown. Each may have 128 KiB of logs.
MAX_ATTEMPTS = 20
#: Shown characters of an image's digest: `sha256:` and twelve digits, as `docker images` shows.
IMAGE_DIGEST_CHARS = 19


@dataclass(frozen=True)
class AttemptDetail:
    """One attempt. `facts`: (name, value) pairs that have a value. `log_to_come`: its log is not saved yet."""

    number: int
    outcome: str
    error: str
    facts: list[tuple[str, str]]
    stdout: Shown
    stderr: Shown
    log_to_come: bool


@dataclass(frozen=True)
class Detail:
    """One task. `left_out`: the number of earlier attempts that are not shown."""

    task: Task
    task_type: str
    error: str
    facts: list[tuple[str, str]]
    data: Shown
    result: Shown | None
    moments: list[Moment]
    attempts: list[AttemptDetail]
    left_out: int


def detail(tasks: QuerySet[Task], task: Task) -> Detail:
    """Read one task's details.

    JSON is read as text, and only in part: a result may have 10 MiB, and be nested deeper than Python parses.
    """
    texts: Any = (
        tasks.filter(pk=task.pk)
        .annotate(data_text=Cast("task_data", TextField()), result_text=Cast("result", TextField()))
        .annotate(
            data_part=Substr("data_text", 1, MAX_INDENTED_CHARS),
            data_size=Length("data_text"),
            result_part=Substr("result_text", 1, MAX_INDENTED_CHARS),
            result_size=Length("result_text"),
        )
        .values("data_part", "data_size", "result_part", "result_size")
        .first()
    ) or {"data_part": None, "result_part": None}
    known = Attempt.objects.filter(task_id=task.pk)
    rows = list(known.order_by("-number")[:MAX_ATTEMPTS])[::-1]
    now = timezone.now()
    return Detail(
        task=task,
        task_type=line(task.task_type),
        error=harmless((task.last_error or "")[:MAX_SHOWN_CHARS]),
        facts=_facts(task, now),
        data=_json(texts, "data") or Shown(""),
        result=_json(texts, "result"),
        moments=timeline(task, rows, _entries(task), now),
        attempts=[_attempt(row) for row in reversed(rows)],
        left_out=known.count() - len(rows),
    )


def _json(texts: dict[str, Any], name: str) -> Shown | None:
    part = texts[f"{name}_part"]
    return None if part is None else pretty(part, texts[f"{name}_size"])


def _entries(task: Task) -> QuerySet[LogEntry]:
    kind = ContentType.objects.get_for_model(Task)
    return (
        LogEntry.objects.filter(content_type=kind, object_id=str(task.pk)).select_related("user").order_by("pk")[:100]
    )


def _facts(task: Task, now: datetime) -> list[tuple[str, str]]:
    ends = {"completed": "last attempt took", "failed": "last attempt took", "processing": "running for"}
    took = (task.completed_at or now) - task.started_at if task.started_at and task.status in ends else None
    budget = f"{task.retries}" + (f" of {task.max_retries}" if task.max_retries is not None else "")
    facts = [
        ("Created", f"{moment(task.created_at)} ({ago(task.created_at, now)})"),
        ("Priority", str(task.priority)),
        ("Attempts", str(task.attempts)),
        ("Retries spent", budget),
        ("Timeout", span(task.timeout)),
        ("Node", line(task.node)),
        ("Next retry", f"{moment(task.due_at)} ({ago(task.due_at, now)})" if task.due_at else ""),
        ("Expires", f"{moment(task.expires_at)} ({ago(task.expires_at, now)})" if task.expires_at else ""),
        ("Ended", f"{moment(task.completed_at)} ({ago(task.completed_at, now)})" if task.completed_at else ""),
        (ends.get(task.status, "").capitalize(), span(took)),
    ]
    return [(name, value) for name, value in facts if value]


def _attempt(row: Attempt) -> AttemptDetail:
    facts = [
        ("Started", moment(row.started_at)),
        ("Waited for a slot", span(row.wait_seconds)),
        ("Took", span(row.ended_at - row.started_at)),
        ("Handler had it for", span(row.seconds)),
        ("Exit code", "" if row.exit_code is None else str(row.exit_code)),
        ("Killed for memory", "yes, says the engine" if row.oom else ""),
        ("Node", line(row.node)),
        ("Container", line(row.container)),
        ("Image", line(row.image)[:IMAGE_DIGEST_CHARS]),
    ]
    return AttemptDetail(
        number=row.number,
        outcome=row.outcome,
        error=harmless(row.error[:MAX_SHOWN_CHARS]),
        facts=[(name, value) for name, value in facts if value],
        stdout=log(row.stdout_tail),
        stderr=log(row.stderr_tail),
        log_to_come=row.outcome == OutcomeKind.CANCELLED and not row.container,
    )


def moment(at: datetime) -> str:
    """A moment in UTC, to the millisecond."""
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"
