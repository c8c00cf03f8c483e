"""The busiest keys on a handler's page of the admin, and the permits on a task's page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone

from tasks_app.admin.text import ago, line, listed
from tasks_app.features.limits.busiest import MAX_HELD, Key, busiest
from tasks_app.features.limits.models import RunningPermit
from tasks_app.handlers.words import moment_text
from tasks_app.queue.models import Task
from tasks_app.queue.permit_models import Permit
from tasks_app.rights import SEE_TASKS, may

#: Keys that the page shows.
MAX_SHOWN = 20


def _of_handler(request: HttpRequest, name: str) -> str:
    """The keys with the most held tasks; nothing if no key has any task that has not ended."""
    if not may(request, SEE_TASKS):
        return ""
    found = busiest(name, 0, MAX_SHOWN)
    if not found.keys:
        return ""
    rows = [_row(name, key) for key in found.keys]
    return render_to_string("limits/keys.html", {"rows": rows, "more": found.more, "shown": MAX_SHOWN})


def _row(name: str, key: Key) -> dict[str, Any]:
    held = f"{key.held:,}{' or more' if key.held >= MAX_HELD else ''}"
    return {
        "key": line(key.limit_key, 60),
        "running": f"{key.running:,}",
        "ready": f"{key.ready:,}",
        "held": held,
        "oldest": "" if key.oldest is None else ago(key.oldest, timezone.now()),
        "all": listed(type=name, q=f"limit_key:{key.limit_key}"),
        "pending": listed(type=name, status="pending", q=f"limit_key:{key.limit_key}"),
    }


def _of_task(request: HttpRequest, task: Task) -> str:
    """The permits of a task that has not ended, or whose container has not."""
    its = (
        ("of its limit key", Permit.objects.filter(task_id=task.pk)),
        ("of its handler", RunningPermit.objects.filter(task_type=task.task_type, task_id=task.pk)),
    )
    now = timezone.now()
    rows = [
        (of, f"{moment_text(permit.since)} ({ago(permit.since, now)})", line(permit.node or "", 100))
        for of, permits in its
        for permit in permits.order_by("pk")[:MAX_SHOWN]
    ]
    return render_to_string("limits/permits.html", {"rows": rows}) if rows else ""


panels = {"handler.end": _of_handler, "task.facts": _of_task}
