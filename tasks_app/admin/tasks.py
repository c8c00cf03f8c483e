"""Tasks in the admin: a list, a page for each, and what can be done to them. It shows; it edits nothing."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from tasks_app.admin.acting import DEEDS, MOST, Deed, Done, act, act_on_all, as_text, chosen
from tasks_app.admin.columns import Columns
from tasks_app.admin.detail import detail
from tasks_app.admin.filters import CreatedFilter, FailedFilter, ReasonFilter, StatusFilter, TypeFilter
from tasks_app.admin.paging import CappedPaginator, NewestFirst
from tasks_app.admin.search import HELP, search
from tasks_app.admin.text import line
from tasks_app.admin.whole import whole
from tasks_app.models import Status, Task

#: Tasks that the page which asks "are you sure?" names.
NAMED = 20


@admin.register(Task)
class TaskAdmin(Columns):
    """Read-only, but for redrive, cancel and delete."""

    list_display = (
        "short_id",
        "type_column",
        "status_column",
        "priority",
        "attempts",
        "age",
        "duration",
        "error_column",
    )
    list_filter = (StatusFilter, ReasonFilter, TypeFilter, CreatedFilter, FailedFilter)
    list_per_page = 50
    list_max_show_all = 1_000
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be a count of everything
    sortable_by = ()
    paginator = CappedPaginator
    ordering = ("-pk",)
    search_fields = ("last_error",)  # shows the box; `search` says what it finds
    search_help_text = HELP
    actions = ("redrive_selected", "cancel_selected", "delete_selected_tasks")
    actions_on_bottom = True

    class Media:
        css = {"all": ("taskdaemon/admin.css",)}

    # What may be done. Nothing is added or edited here, so `change` is the permission to redrive and cancel.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return super().has_view_permission(request, obj) or super().has_change_permission(request, obj)

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether this user may redrive and cancel."""
        return super().has_change_permission(request)

    def _may(self, request: HttpRequest, deed: Deed) -> bool:
        return self.has_act_permission(request) if deed.permission == "change" else self.has_delete_permission(request)

    # The list.

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[NewestFirst]:
        return NewestFirst

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        # What the filters understand, and no column: a lookup of the address's own could read every payload.
        return lookup in {one.parameter_name for one in self.list_filter}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Tasks", **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return super().get_queryset(request).defer("task_data", "result")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        return search(queryset, search_term), False

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # Django's own deletes rows behind the back of `lifecycle`
        return actions

    def response_action(self, request: HttpRequest, queryset: QuerySet[Task], *more: Any) -> HttpResponse | None:
        try:
            return super().response_action(request, queryset, *more)
        except ValidationError:
            self.message_user(request, "What was selected is no task's id.", messages.ERROR)
            return None

    @admin.action(description="Redrive the selected failed tasks", permissions=["act"])
    def redrive_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        """Give each failed one another life."""
        self._all(request, DEEDS["redrive"], queryset)

    @admin.action(description="Cancel the selected tasks", permissions=["act"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """End those that have not ended, once the user is sure."""
        return self._all_if_sure(request, DEEDS["cancel"], queryset, "cancel_selected")

    @admin.action(description="Delete the selected tasks", permissions=["delete"])
    def delete_selected_tasks(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        """Remove each, once the user is sure."""
        return self._all_if_sure(request, DEEDS["delete"], queryset, "delete_selected_tasks")

    def _all_if_sure(
        self, request: HttpRequest, deed: Deed, queryset: QuerySet[Task], action: str
    ) -> HttpResponse | None:
        if "sure" in request.POST:
            try:
                ids = chosen(request.POST.get("chosen", ""))
            except ValueError:
                self.message_user(request, "What was selected is no task's id.", messages.ERROR)
                return None
            # Those that were shown, whatever matches the filter by now.
            self._all(request, deed, self.get_queryset(request).filter(pk__in=ids))
            return None
        found = list(queryset.order_by("-pk").values_list("pk", "task_type", "status")[: MOST + 1])
        rows = [Task(pk=key, task_type=name, status=status) for key, name, status in found[:MOST]]
        return self._ask(request, deed, rows, action=action, more=len(found) > MOST)

    def _ask(self, request: HttpRequest, deed: Deed, rows: list[Task], **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{deed.name.capitalize()}: are you sure?",
            "opts": self.opts,
            "deed": deed,
            "count": len(rows),
            "unfit": sum(1 for row in rows if row.status not in deed.fits),
            "running": sum(1 for row in rows if row.status == Status.PROCESSING),
            "named": rows[:NAMED],
            "unnamed": max(len(rows) - NAMED, 0),
            "chosen": as_text(row.pk for row in rows),
            "media": self.media,
            **more,
        }
        return TemplateResponse(request, "taskdaemon/sure.html", context)

    def _all(self, request: HttpRequest, deed: Deed, queryset: QuerySet[Task]) -> None:
        found = list(queryset.order_by("pk").values_list("pk", "task_type")[: MOST + 1])
        done = act_on_all(deed, *_who(request), found[:MOST])
        self._report(request, deed, done, more=len(found) > MOST)

    def _report(self, request: HttpRequest, deed: Deed, done: Done, more: bool = False) -> None:
        if done.kept:
            self.message_user(request, f"{done.kept:,} {deed.done}.", messages.SUCCESS)
        if done.left:
            self.message_user(request, f"{done.left:,} left alone: {deed.unless}.", messages.WARNING)
        if done.not_tried:
            text = f"{done.not_tried:,} not tried, for it took too long: select them again."
            self.message_user(request, text, messages.WARNING)
        if more:
            text = f"One action takes at most {MOST:,} tasks, and there are more: do it again for the rest."
            self.message_user(request, text, messages.WARNING)

    # One task.

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"tasks_app_task_{name}")
            for name, view in (("redrive", self.redrive_view), ("cancel", self.cancel_view), ("json", self.json_view))
        ]
        return own + super().get_urls()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        task = self._seen(request, object_id)
        if task is None:
            return self._gone(request, object_id)
        buttons = [deed for deed in DEEDS.values() if task.status in deed.fits and self._may(request, deed)]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Task {task.pk}",
            "opts": self.opts,
            "original": task,
            "detail": detail(self.model._default_manager.all(), task),
            "buttons": [(deed.name, f"admin:tasks_app_task_{deed.name}") for deed in buttons],
            "media": self.media,
        }
        return TemplateResponse(request, "taskdaemon/task.html", context)

    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The whole task, whatever its size."""
        task = self._seen(request, object_id)
        return (task and whole(task.pk)) or self._gone(request, object_id)

    def redrive_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: another life for this one."""
        return self._one(request, DEEDS["redrive"], object_id)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: end this one."""
        return self._one(request, DEEDS["cancel"], object_id)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        deed = DEEDS["delete"]
        if request.method in ("GET", "HEAD"):
            task = self._seen(request, object_id)
            if not self._may(request, deed):
                raise PermissionDenied
            if task is None:
                return self._gone(request, object_id)
            return self._ask(request, deed, [task], back=task.pk)
        return self._one(request, deed, object_id)

    def _seen(self, request: HttpRequest, object_id: str) -> Task | None:
        if not self.has_view_permission(request):
            raise PermissionDenied
        task: Task | None = self.get_object(request, unquote(object_id))
        return task

    def _gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        self.message_user(request, f"There is no task {line(unquote(object_id), 60)} any more.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))

    def _one(self, request: HttpRequest, deed: Deed, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        task = self._seen(request, object_id)
        if not self._may(request, deed):
            raise PermissionDenied
        if task is None:
            return self._gone(request, object_id)
        if act(deed, *_who(request), task.pk, task.task_type):
            self.message_user(request, f"The task {task} was {deed.done}.", messages.SUCCESS)
        else:
            self.message_user(request, f"The task {task} was left alone: {deed.unless}.", messages.WARNING)
        if deed.name == "delete":
            return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))
        return HttpResponseRedirect(reverse("admin:tasks_app_task_change", args=(task.pk,)))


def _who(request: HttpRequest) -> tuple[int, str]:
    return int(request.user.pk or 0), request.user.get_username()
