"""The columns of the list of tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin.lists import RowAdmin
from tasks_app.admin.text import ago, line
from tasks_app.metrics.summary import span
from tasks_app.queue.models import Status, Task


class Columns(RowAdmin):
    """The columns as methods."""

    @admin.display(description="id")
    def id_column(self, task: Task) -> SafeString:
        """The full id, on two lines; `<wbr>` keeps it one word when it is copied."""
        shown = str(task.pk)
        return format_html('<span class="td-id">{}<wbr>{}</span>', shown[:19], shown[19:])

    @admin.display(description="type")
    def type_column(self, task: Task) -> str:
        """The handler's name."""
        return line(task.task_type, 40)

    @admin.display(description="status")
    def status_column(self, task: Task) -> SafeString:
        """A coloured badge, with the reason of a failure."""
        shown = badge(task.status, task.status)
        if task.failure_reason is None:
            return shown
        return format_html('{}<div class="td-reason">{}</div>', shown, task.failure_reason.replace("_", " "))

    @admin.display(description="age")
    def age(self, task: Task) -> SafeString:
        """Time since its creation."""
        return moment(task.created_at)

    @admin.display(description="duration")
    def duration(self, task: Task) -> str:
        """From the last attempt's start to its end; for an unfinished task, what it waits for."""
        now = timezone.now()
        if task.status == Status.PENDING:
            if task.due_at:
                return f"{'retry' if task.attempts else 'scheduled'} {ago(task.due_at, now)}"
            return f"waits {span(now - task.ready_at)}"
        if task.started_at is None:
            return "never started"
        took = span((task.completed_at or now) - task.started_at)
        return f"runs {took}" if task.status == Status.PROCESSING else took

    @admin.display(description="last error")
    def error_column(self, task: Task) -> SafeString:
        """The last error, shortened to one line."""
        return format_html('<span class="td-error">{}</span>', line(task.last_error, 140))


def badge(tone: Any, text: str) -> SafeString:
    """A coloured label. `tone` selects a class of admin.css: a status, or `plain`."""
    return format_html('<span class="td-badge td-{}">{}</span>', tone, text)


def moment(at: datetime) -> SafeString:
    """How long ago it was; the time itself appears under the pointer."""
    return format_html('<span title="{} UTC">{}</span>', f"{at:%Y-%m-%d %H:%M:%S}", ago(at, timezone.now()))
