"""What a page says after an action on one task."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.models import Task


def beside(task: Task, twin: UUID) -> SafeString:
    """Why a task was not redriven, with a link to the task that has its unique key."""
    address = reverse("admin:tasks_app_task_change", args=(twin,))
    return format_html(
        'The task {} was skipped: <a href="{}">the task {}</a> has the same unique key and has not ended.',
        *(task, address, twin),
    )
