"""The columns of the list of tasks."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin.text import ago, line, span
from tasks_app.models import Status, Task


class Columns(admin.ModelAdmin):
    """A task in a row: what it is, how it stands, how old it is, how long it took, what went wrong."""

    @admin.display(description="id")
    def short_id(self, task: Task) -> SafeString:
        """Its last digits: the first ones are the time, and nearly the same for all that is on a page."""
        return format_html('<span class="td-id" title="{}">…{}</span>', task.pk, str(task.pk)[-12:])

    @admin.display(description="type")
    def type_column(self, task: Task) -> str:
        """The handler's name."""
        return line(task.task_type, 40)

    @admin.display(description="status")
    def status_column(self, task: Task) -> SafeString:
        """Coloured, with the reason of a failure."""
        shown = badge(task.status, task.status)
        if task.failure_reason is None:
            return shown
        return format_html('{}<div class="td-reason">{}</div>', shown, task.failure_reason.replace("_", " "))

    @admin.display(description="age")
    def age(self, task: Task) -> SafeString:
        """Since it was created."""
        return format_html(
            '<span title="{} UTC">{}</span>',
            f"{task.created_at:%Y-%m-%d %H:%M:%S}",
            ago(task.created_at, timezone.now()),
        )

    @admin.display(description="duration")
    def duration(self, task: Task) -> str:
        """From the last attempt's start to the end; of one that has not ended, what it waits for."""
        now = timezone.now()
        if task.status == Status.PENDING:
            if task.due_at:
                return f"retry {ago(task.due_at, now)}"
            return f"waits {span(now - task.ready_at)}"
        if task.started_at is None:
            return "never started"
        took = span((task.completed_at or now) - task.started_at)
        return f"runs {took}" if task.status == Status.PROCESSING else took

    @admin.display(description="last error")
    def error_column(self, task: Task) -> SafeString:
        """On one line, and short."""
        return format_html('<span class="td-error">{}</span>', line(task.last_error, 140))


def badge(tone: Any, text: str) -> SafeString:
    """A coloured word. `tone` is one of ours: a status, or `plain`."""
    return format_html('<span class="td-badge td-{}">{}</span>', tone, text)
