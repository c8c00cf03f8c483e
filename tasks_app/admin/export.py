"""A task as JSON for users of the admin, whose browsers have no API key."""

from __future__ import annotations

from uuid import UUID

from django.http import JsonResponse

from tasks_app.models import Attempt, Task

EXPORTED_FIELDS = (
    "id", "task_type", "task_data", "status", "priority", "attempts", "retries", "result", "last_error",
    "failure_reason", "created_at", "started_at", "completed_at", "due_at", "expires_at", "requested_timeout",
    "requested_max_retries", "tags", "metadata", "unique_key", "node",
)  # fmt: skip
#: Each may have 128 KiB of logs.
MAX_ATTEMPTS = 100


def export(pk: UUID) -> JsonResponse | None:
    """The task with its last attempts; None if there is no such task."""
    task = Task.objects.filter(pk=pk).values(*EXPORTED_FIELDS).first()
    if task is None:
        return None
    attempts = Attempt.objects.filter(task_id=pk).order_by("-number").values()[:MAX_ATTEMPTS]
    shown = [{name: value for name, value in one.items() if name not in ("id", "task_id")} for one in attempts]
    answer = JsonResponse({**task, "tries": shown}, json_dumps_params={"ensure_ascii": False})
    answer["Content-Disposition"] = f'inline; filename="task-{pk}.json"'
    return answer
