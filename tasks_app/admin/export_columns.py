"""Which columns of tasks a user may export. The only place that decides it."""

from __future__ import annotations

from django.http import HttpRequest

from tasks_app.admin.rights import TASK_PAYLOAD, sees_payloads

#: In the order of the file.
COLUMNS = (
    "id", "task_type", "status", "priority", "attempts", "retries", "failure_reason", "last_error", "created_at",
    "started_at", "completed_at", "due_at", "expires_at", "requested_timeout", "requested_max_retries", "tags",
    "unique_key", "node",
)  # fmt: skip
#: What callers and handlers wrote; left out unless it is asked for.
PAYLOADS = ("task_data", "metadata", "result")
#: Columns with JSON text.
JSON_COLUMNS = frozenset({"tags", *PAYLOADS})


def export_columns(request: HttpRequest, payloads: bool) -> tuple[str, ...]:
    """The columns of an export by this user, who may see tasks. `payloads`: they are asked for."""
    if not sees_payloads(request):
        return tuple(name for name in COLUMNS if name not in TASK_PAYLOAD)
    return (*COLUMNS, *PAYLOADS) if payloads else COLUMNS
