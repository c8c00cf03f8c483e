"""The page of a task that has not ended follows it in the admin: what it asks for each second while it is open."""

from __future__ import annotations

import re
from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import path, reverse
from django.utils.html import format_html

from tasks_app.admin.tasks import TaskAdmin
from tasks_app.logs import harmless
from tasks_app.queue.models import FINAL, LiveEvent, Status, Task
from tasks_app.rights import SEE_PAYLOADS, may

#: Events in an answer.
MAX_EVENTS = 500
_POSITION = re.compile(r"(\d{1,9})\.(\d{1,9})")


def position(text: str) -> tuple[int, int]:
    """The attempt and the sequence of an event's id. Raises ValueError."""
    if (found := _POSITION.fullmatch(text)) is None or not text.isascii():
        raise ValueError
    return int(found[1]), int(found[2])


def start(task: Task) -> str:
    """Where the page of a task begins: with the running attempt, or with the next one."""
    return f"{task.attempts if task.status == Status.PROCESSING else task.attempts + 1}.0"


def live(task: Task, after: tuple[int, int]) -> dict[str, Any]:
    """The task's state, and the events that follow `after`, 500 at most. `done`: there will be no others."""
    rows = list(LiveEvent.objects.after(task.pk, *after)[: MAX_EVENTS + 1])
    events = [
        {"id": f"{row.attempt}.{row.sequence}", "kind": row.kind, "body": _body(row.body), "at": row.at.isoformat()}
        for row in rows[:MAX_EVENTS]
    ]
    progress = None
    if task.status == Status.PROCESSING:
        progress = LiveEvent.objects.progress(task.pk, task.attempts).values_list("body", flat=True).first()
    return {
        "status": task.status,
        "attempt": task.attempts,
        "progress": _body(progress) if progress else None,
        "events": events,
        "next": events[-1]["id"] if events else f"{after[0]}.{after[1]}",
        "done": task.status in FINAL and len(rows) <= MAX_EVENTS,
    }


def _body(body: dict[str, Any]) -> dict[str, Any]:
    """With harmless text. A carriage return, by which a handler writes over its line, begins a new one."""
    texts = {name: body[name] for name in ("text", "message") if name in body}
    return body | {name: harmless(text.replace("\r\n", "\n").replace("\r", "\n")) for name, text in texts.items()}


def live_view(request: HttpRequest, object_id: str) -> HttpResponse:
    """What has happened since the event `after`, for the script of the task's page: its log is among it."""
    task = cast(TaskAdmin, admin.site.get_model_admin(Task)).seen(request, object_id)
    if not may(request, SEE_PAYLOADS):
        raise PermissionDenied
    if task is None:
        return JsonResponse({"error": "Task not found"}, status=404)
    try:
        after = position(request.GET.get("after", "0.0"))
    except ValueError:
        return JsonResponse({"error": "after must be the id of an event, such as 1.17"}, status=400)
    return JsonResponse(live(task, after))


urlpatterns = [  # without a slash at its end: it is no page
    path("tasks_app/task/<path:object_id>/live", admin.site.admin_view(live_view), name="tasks_app_task_live")
]


# What a task's page has for it, until the task is final.


def _script(request: HttpRequest, task: Task) -> str:
    if task.status in FINAL or not may(request, SEE_PAYLOADS):
        return ""
    return format_html('<script src="{}" defer></script>', static("taskdaemon/live.js"))


def _places(request: HttpRequest, task: Task) -> str:
    """Where the script shows the state, the progress and the log."""
    if task.status in FINAL or not may(request, SEE_PAYLOADS):
        return ""
    address = reverse("tasks_app_task_live", args=(task.pk,))
    return render_to_string("events/live.html", {"address": address, "after": start(task), "task": task})


panels = {"task.head": _script, "task.live": _places}
