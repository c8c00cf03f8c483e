"""Tasks in the admin: the list, a page for each, and the actions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from tasks_app.admin.acting import ACTIONS, EDIT, PRIORITY, Action, Editing, act, beside
from tasks_app.admin.detail import as_json, detail
from tasks_app.admin.rights import actor, sees_audit_log, sees_payloads
from tasks_app.admin.text import line
from tasks_app.queue.models import Status, Task
from tasks_app.queue.redrive import LivingTwin

#: By status: the page that changes the task, and its name.
EDITABLE = {
    Status.FAILED: (f"admin:tasks_app_task_{EDIT}", "Edit and redrive…"),
    Status.PENDING: (f"admin:tasks_app_task_{PRIORITY}", "Priority…"),
}


@admin.register(Task)
class TaskAdmin(Editing):
    """Read-only, except for the actions of operators."""

    # Permissions. Nothing is added or edited here, so `change` is the permission to redrive and cancel. Whoever may act
    # sees tasks too, but their payloads only with `view_payload`.

    def has_change_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return super().has_view_permission(request, obj) or super().has_change_permission(request, obj)

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether this user may redrive and cancel."""
        return super().has_change_permission(request)

    def _may(self, request: HttpRequest, task_action: Action) -> bool:
        return (
            self.has_act_permission(request)
            if task_action.permission == "change"
            else self.has_delete_permission(request)
        )

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
        task = self.visible_task(request, object_id)
        if task is None:
            return self._task_missing(request, object_id)
        buttons = [
            task_action
            for task_action in ACTIONS.values()
            if task.status in task_action.fits and self._may(request, task_action)
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Task {task.pk}",
            "opts": self.opts,
            "original": task,
            "detail": detail(self.model._default_manager.all(), task, sees_payloads(request), sees_audit_log(request)),
            "buttons": [(task_action.name, f"admin:tasks_app_task_{task_action.name}") for task_action in buttons],
            "edit": self._editable(request, task),
            "media": self.media,
        }
        return TemplateResponse(request, "taskdaemon/task.html", context)

    def _editable(self, request: HttpRequest, task: Task) -> tuple[str, str] | None:
        """The page that changes the task; None if its user may not. The form of a failed one shows its data."""
        if not self.has_act_permission(request) or (task.status == Status.FAILED and not sees_payloads(request)):
            return None
        return EDITABLE.get(Status(task.status))

    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The complete task as JSON, whatever its size, without what the user may not see."""
        task = self.visible_task(request, object_id)
        return (task and as_json(task.pk, sees_payloads(request))) or self._task_missing(request, object_id)

    def redrive_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: redrive the task."""
        return self._act_on_one(request, ACTIONS["redrive"], object_id)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET: ask for confirmation. POST: cancel the task."""
        return self._confirm_and_act(request, ACTIONS["cancel"], object_id)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return self._confirm_and_act(request, ACTIONS["delete"], object_id)

    def _confirm_and_act(self, request: HttpRequest, task_action: Action, object_id: str) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            task = self.visible_task(request, object_id)
            if not self._may(request, task_action):
                raise PermissionDenied
            if task is None:
                return self._task_missing(request, object_id)
            return self._confirm(request, task_action, task)
        return self._act_on_one(request, task_action, object_id)

    def _confirm(self, request: HttpRequest, task_action: Action, task: Task) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{task_action.name.capitalize()}: are you sure?",
            "opts": self.opts,
            "task_action": task_action,
            "task": task,
            "unfit": task.status not in task_action.fits,
            "running": task.status == Status.PROCESSING,
            "media": self.media,
        }
        return TemplateResponse(request, "taskdaemon/sure.html", context)

    def visible_task(self, request: HttpRequest, object_id: str) -> Task | None:
        """The task of an address; None if there is none. Raises PermissionDenied."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        task: Task | None = self.get_object(request, unquote(object_id))
        return task

    def _task_missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        self.message_user(request, f"There is no task {line(unquote(object_id), 60)} any more.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))

    def _act_on_one(self, request: HttpRequest, task_action: Action, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        task = self.visible_task(request, object_id)
        if not self._may(request, task_action):
            raise PermissionDenied
        if task is None:
            return self._task_missing(request, object_id)
        try:
            if act(task_action, actor(request), task.pk, task.task_type):
                self.message_user(request, f"The task {task} was {task_action.done}.", messages.SUCCESS)
            else:
                self.message_user(request, f"The task {task} was skipped: {task_action.unless}.", messages.WARNING)
        except LivingTwin as twin:
            self.message_user(request, beside(task, twin.task), messages.WARNING)
        if task_action.name == "delete":
            return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))
        return HttpResponseRedirect(reverse("admin:tasks_app_task_change", args=(task.pk,)))
