"""Tasks in the admin: list, detail, redrive, delete."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.lifecycle import delete, redrive
from tasks_app.models import Attempt, Task


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than an operator pages: COUNT(*) over a million rows would be paid at every look."""

    CAP = 10_000

    @cached_property
    def count(self) -> int:
        """Rows, or CAP where there are more."""
        return len(self.object_list.order_by().values_list("pk")[: self.CAP])  # type: ignore[union-attr]


def pretty(value: Any) -> SafeString:
    """A JSON value for people. Escaped: a payload is a stranger's text."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return format_html('<pre style="white-space:pre-wrap;margin:0">{}</pre>', text[:100_000])


class AttemptInline(admin.TabularInline):
    """What each try came to."""

    model = Attempt
    fields = ("number", "outcome", "error", "exit_code", "node", "container", "started_at", "ended_at", "seconds", "stdout_log", "stderr_log")
    readonly_fields = fields
    ordering = ("number",)
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="stdout")
    def stdout_log(self, attempt: Attempt) -> SafeString:
        """What the handler printed beside its reply."""
        return format_html('<pre style="white-space:pre-wrap;margin:0">{}</pre>', attempt.stdout_tail)

    @admin.display(description="stderr")
    def stderr_log(self, attempt: Attempt) -> SafeString:
        """The handler's log."""
        return format_html('<pre style="white-space:pre-wrap;margin:0">{}</pre>', attempt.stderr_tail)


@admin.register(Task)
class TaskAdmin(admin.ModelAdmin):
    """Read-only, but for redrive and delete."""

    list_display = ("id", "task_type", "status", "failure_reason", "priority", "attempts", "created_at", "completed_at")
    list_filter = ("status", "failure_reason")
    list_per_page = 50
    show_full_result_count = False
    paginator = CappedPaginator
    ordering = ("-id",)
    search_fields = ("id", "task_type", "last_error")
    search_help_text = "A task's id, a type, or words of its last error"
    actions = ("redrive_selected", "delete_selected_tasks")
    inlines = (AttemptInline,)
    fields = (
        "id", "task_type", "status", "failure_reason", "last_error", "priority", "attempts", "retries", "node",
        "created_at", "ready_at", "due_at", "started_at", "completed_at", "payload", "answer",
    )  # fmt: skip
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # Django's own would delete rows behind the back of `lifecycle`
        return actions

    def delete_model(self, request: HttpRequest, obj: Task) -> None:
        delete(obj.pk)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Task], search_term: str) -> tuple[QuerySet[Task], bool]:
        try:
            return queryset.filter(pk=UUID(search_term.strip())), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)

    @admin.display(description="data")
    def payload(self, task: Task) -> SafeString:
        """What the caller sent."""
        return pretty(task.task_data)

    @admin.display(description="result")
    def answer(self, task: Task) -> SafeString:
        """What the handler answered."""
        return pretty(task.result)

    @admin.action(description="Redrive the selected failed tasks", permissions=["delete"])
    def redrive_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        """Give each failed one another life."""
        self._each(request, queryset, redrive, "redriven", "not failed any more")

    @admin.action(description="Delete the selected tasks", permissions=["delete"])
    def delete_selected_tasks(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        """Remove each one; a running one's container is stopped."""
        self.log_deletions(request, queryset)
        self._each(request, queryset, delete, "deleted", "gone already", logged=True)

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Task], verb: Callable[[UUID], bool], done: str, not_done: str, logged: bool = False
    ) -> None:
        chosen = list(queryset)
        kept = [task for task in chosen if verb(task.pk)]
        if not logged:
            for task in kept:
                self.log_change(request, task, [done])
        if kept:
            self.message_user(request, f"{len(kept)} {done}", messages.SUCCESS)
        if len(kept) < len(chosen):
            self.message_user(request, f"{len(chosen) - len(kept)} left alone: {not_done}", messages.WARNING)


__all__ = ["TaskAdmin"]
