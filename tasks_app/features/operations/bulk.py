"""Acts on the selected tasks, or on all that match the list's filters and its search."""

from __future__ import annotations

from typing import cast

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from tasks_app.admin.columns import Columns
from tasks_app.admin.lists import NewestFirst
from tasks_app.features.operations.admin import OperationAdmin
from tasks_app.features.operations.admin_form import Chosen
from tasks_app.features.operations.models import Operation, Verb
from tasks_app.queue.models import Task
from tasks_app.queue.task_filter import FIRST_ID, TaskFilter

NOTHING = "No task matches any more: nothing was done."


class BulkActions(Columns):
    """The actions of the list of tasks. Each leads to the page that counts and asks."""

    actions = ("redrive_selected", "cancel_selected", "priority_selected", "delete_selected_tasks")

    def response_action(self, request: HttpRequest, queryset: QuerySet[Task], *more: object) -> HttpResponse | None:
        try:
            return super().response_action(request, queryset, *more)  # type: ignore[arg-type]
        except ValidationError:
            self.message_user(request, "The selection contains something that is no task's id.", messages.ERROR)
            return None

    @admin.action(description="Redrive the selected failed tasks", permissions=["act"])
    def redrive_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Redrive the failed ones."""
        return self._ask(request, Verb.REDRIVE, queryset)

    @admin.action(description="Cancel the selected tasks", permissions=["act"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Cancel the unfinished ones."""
        return self._ask(request, Verb.CANCEL, queryset)

    @admin.action(description="Change the priority of the selected pending tasks", permissions=["act"])
    def priority_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Give the pending ones another priority."""
        return self._ask(request, Verb.PRIORITY, queryset)

    @admin.action(description="Delete the selected tasks", permissions=["delete"])
    def delete_selected_tasks(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Delete them."""
        return self._ask(request, Verb.DELETE, queryset)

    def _ask(self, request: HttpRequest, verb: Verb, queryset: QuerySet[Task]) -> HttpResponse | None:
        shown = cast(NewestFirst, self.get_changelist_instance(request))
        newest = Task.objects.order_by("-pk").values_list("pk", flat=True).first() or FIRST_ID
        if shown.faults:
            wanted = TaskFilter(ids=frozenset())
        elif request.POST.get("select_across", "0") in ("", "0"):
            wanted = TaskFilter(ids=frozenset(queryset.values_list("pk", flat=True)))
        else:
            # Tasks that are stored while the page is read do not match.
            wanted = shown.frozen.both(TaskFilter(last_id=newest))
        if wanted.ids is not None and not wanted.ids:
            self.message_user(request, NOTHING, messages.WARNING)
            return None
        operations = OperationAdmin(Operation, self.admin_site)
        return operations.ask(request, Chosen(verb, wanted, request.get_full_path()), _how(request, shown))


def _how(request: HttpRequest, shown: NewestFirst) -> str:
    """How the tasks were selected, for the page."""
    if request.POST.get("select_across", "0") in ("", "0"):
        return "You selected them one by one."
    if shown.narrowed:
        return f"They are all that match: {', '.join(shown.narrowed)}."
    return "They are all tasks: no filter was set."
