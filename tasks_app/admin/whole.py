"""A task as JSON for whoever may see it in the admin: the API asks for a key, and a browser has none."""

from __future__ import annotations

from uuid import UUID

from django.http import JsonResponse

from tasks_app.models import Attempt, Task

FIELDS = (
    "id", "task_type", "task_data", "status", "priority", "attempts", "retries", "result", "last_error",
    "failure_reason", "created_at", "started_at", "completed_at", "due_at", "node",
)  # fmt: skip
#: Each may have 128 KiB of logs.
ATTEMPTS = 100


def whole(pk: UUID) -> JsonResponse | None:
    """The task with its last attempts; None if there is none."""
    task = Task.objects.filter(pk=pk).values(*FIELDS).first()
    if task is None:
        return None
    tries = Attempt.objects.filter(task_id=pk).order_by("-number").values()[:ATTEMPTS]
    shown = [{name: value for name, value in one.items() if name not in ("id", "task_id")} for one in tries]
    answer = JsonResponse({**task, "tries": shown}, json_dumps_params={"ensure_ascii": False})
    answer["Content-Disposition"] = f'inline; filename="task-{pk}.json"'
    return answer
