"""Which columns of tasks a user may export. The only place that decides it."""

from __future__ import annotations

from django.http import HttpRequest

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
    return (*COLUMNS, *PAYLOADS) if payloads and may_see_payloads(request) else COLUMNS


def may_see_payloads(request: HttpRequest) -> bool:
    """Whether this user may see data, metadata and results: everyone who may see tasks."""
    return request.user.has_perm("tasks_app.view_task") or request.user.has_perm("tasks_app.change_task")
