"""A task as JSON for users of the admin, whose browsers have no API key."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.http import JsonResponse

from tasks_app.admin.rights import ATTEMPT_PAYLOAD, TASK_PAYLOAD
from tasks_app.models import Attempt, Task
from tasks_app.store.unsized import unreadable

EXPORTED_FIELDS = (
    "id", "task_type", "task_data", "status", "priority", "attempts", "retries", "result", "last_error",
    "failure_reason", "created_at", "started_at", "completed_at", "due_at", "expires_at", "requested_timeout",
    "requested_max_retries", "tags", "metadata", "unique_key", "node",
)  # fmt: skip
#: Each may have 128 KiB of logs.
MAX_ATTEMPTS = 100


def export(pk: UUID, payloads: bool) -> JsonResponse | None:
    """The task with its last attempts; None if there is no such task. Without `payloads`, `withheld` names the fields
    that are left out; `omitted` names those that are too large to be read."""
    left_out = () if payloads else (*TASK_PAYLOAD, *ATTEMPT_PAYLOAD)
    omitted = unreadable(pk, ("task_data", "result")) if payloads else set()
    fields = [name for name in EXPORTED_FIELDS if name not in (*left_out, *omitted)]
    task = Task.objects.filter(pk=pk).values(*fields).first()
    if task is None:
        return None
    attempts = Attempt.objects.filter(task_id=pk).order_by("-number").values(*_attempt_fields(left_out))[:MAX_ATTEMPTS]
    content = {**task, "tries": list(attempts)} | ({} if payloads else {"withheld": list(left_out)})
    if omitted:
        content["omitted"] = sorted(omitted)
    answer = JsonResponse(content, json_dumps_params={"ensure_ascii": False})
    answer["Content-Disposition"] = f'inline; filename="task-{pk}.json"'
    return answer


def _attempt_fields(left_out: Collection[str]) -> list[str]:
    names = (field.attname for field in Attempt._meta.concrete_fields)
    return [name for name in names if name not in ("id", "task_id", *left_out)]
