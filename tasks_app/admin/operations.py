"""Operations in the admin: started from the list of tasks, listed, watched and aborted."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from tasks_app.admin import operation_text as text
from tasks_app.admin.columns import badge, moment
from tasks_app.admin.operation_form import Chosen, OperationForm, counted
from tasks_app.admin.rights import actor, sees_payloads, sees_tasks
from tasks_app.admin.row_admin import ReadOnlyAdmin
from tasks_app.admin.text import line
from tasks_app.models import Operation, OperationState, Verb
from tasks_app.operations import Plan, abort, preview, start, work_until_over
from tasks_app.operations.warnings import warnings
from tasks_app.store.current import store

#: A small operation is done by the web server at once, for so long at most; a node goes on with the rest.
AT_ONCE_SECONDS = 2.0
#: What each verb does, for the page before it.
EXPLAINED = {
    Verb.REDRIVE: "They go to the back of their queues, with new budgets of retries.",
    Verb.CANCEL: "They fail with the reason “cancelled”; the containers of running ones are stopped.",
    Verb.DELETE: "They are removed for good, with their attempts and logs; the containers of running ones are stopped.",
    Verb.PRIORITY: "With DAEMON_TASK_SELECTION=priority they go to the back of their new level.",
}


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    """Read-only, except for an abort."""

    list_display = ("shown_verb", "state_column", "progress", "tasks_column", "begun", "by")
    ordering = ("-pk",)
    list_display_links = ("shown_verb",)

    # Who may see tasks may see what was done to them; the permissions to act are those on tasks.

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return sees_tasks(request)

    def get_list_display(self, request: HttpRequest) -> Any:
        if sees_payloads(request):
            return self.list_display
        return tuple("tasks_without_errors" if each == "tasks_column" else each for each in self.list_display)

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, "tasks_app_operation"
        return [
            path("start/", view(self.start_view), name=f"{name}_start"),
            path("<str:object_id>/abort/", view(self.abort_view), name=f"{name}_abort"),
            path("<str:object_id>/json/", view(self.json_view), name=f"{name}_json"),
            *super().get_urls(),
        ]

    # The page before an operation.

    def ask(self, request: HttpRequest, chosen: Chosen, how: str, form: OperationForm | None = None) -> HttpResponse:
        """The page that counts and asks for the options. `how`: how the tasks were chosen, in a sentence."""
        form = form or OperationForm(chosen.verb)
        found = preview(Plan(chosen.verb, chosen.wanted))
        if not found.matched and not found.unfit:
            self.message_user(request, "No task matches any more: nothing was done.", messages.WARNING)
            return HttpResponseRedirect(chosen.back)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{chosen.verb.capitalize()}: are you sure?",
            "verb": chosen.verb,
            "explained": EXPLAINED[Verb(chosen.verb)],
            "how": how,
            "counted": counted(found),
            "none": not found.matched,
            "warnings": [line(each, 300) for each in warnings(chosen.verb, found.by_type)],
            "form": form,
            "chosen": chosen.signed(),
            "back": chosen.back,
            "media": self.media,
        }
        return TemplateResponse(request, "taskdaemon/operate.html", context)

    def start_view(self, request: HttpRequest) -> HttpResponse:
        """POST: start the operation that the page before described."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        chosen = Chosen.of(request.POST.get("chosen", ""))
        if chosen is None:
            self.message_user(request, "This form was changed or is too old: select the tasks again.", messages.ERROR)
            return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))
        if not request.user.has_perm(permission_of(chosen.verb)):
            raise PermissionDenied
        form = OperationForm(chosen.verb, request.POST)
        plan = form.plan(chosen.wanted) if form.is_valid() else None
        if plan is None:
            return self.ask(request, chosen, "", form)
        try:
            operation = start(plan, actor(request), chosen.operation_id)
        except IntegrityError:
            text = "This form was sent before, and started this operation: to start another, select the tasks again."
            self.message_user(request, text, messages.INFO)
            return HttpResponseRedirect(_page(Operation(pk=chosen.operation_id)))
        if plan.rate is None and plan.canary is None and operation.matched <= store().tasks_per_batch:
            try:
                work_until_over(operation.pk, "web", AT_ONCE_SECONDS)
            except DatabaseError:
                pass  # it is stored: a node does it
            operation.refresh_from_db()
        if operation.state == OperationState.COMPLETED:
            level = messages.SUCCESS if operation.done else messages.WARNING
            self.message_user(request, operation.sentence, level)
            return HttpResponseRedirect(chosen.back)
        return HttpResponseRedirect(_page(operation))

    # One operation.

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        operation = self._visible(request, object_id)
        if operation is None:
            return self._missing(request)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{operation.verb.capitalize()}: {text.described(operation, sees_payloads(request))}",
            "operation": operation,
            "state": badge(text.TONES[OperationState(operation.state)], operation.state),
            "running": operation.state == OperationState.RUNNING,
            "may_abort": request.user.has_perm(permission_of(operation.verb)),
            "facts": _facts(operation, sees_payloads(request)),
            **_progress(operation),
            "media": self.media,
        }
        return TemplateResponse(request, "taskdaemon/operation.html", context)

    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """How far it is, for the page's script."""
        operation = self._visible(request, object_id)
        if operation is None:
            return JsonResponse({"state": "gone"}, status=404)
        return JsonResponse({"state": operation.state, **_progress(operation)})

    def abort_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: abort it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        operation = self._visible(request, object_id)
        if operation is None:
            return self._missing(request)
        if not request.user.has_perm(permission_of(operation.verb)):
            raise PermissionDenied
        if not abort(operation.pk, actor(request)):
            self.message_user(request, "The operation was over already.", messages.WARNING)
        return HttpResponseRedirect(_page(operation))

    def _visible(self, request: HttpRequest, object_id: str) -> Operation | None:
        if not self.has_view_permission(request):
            raise PermissionDenied
        operation: Operation | None = self.get_object(request, object_id)
        return operation

    def _missing(self, request: HttpRequest) -> HttpResponse:
        self.message_user(request, "There is no such operation.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:tasks_app_operation_changelist"))

    # The list.

    @admin.display(description="operation")
    def shown_verb(self, operation: Operation) -> str:
        """What it does."""
        return operation.verb if operation.priority is None else f"{operation.verb} {operation.priority}"

    @admin.display(description="state")
    def state_column(self, operation: Operation) -> SafeString:
        """A coloured badge."""
        return badge(text.TONES[OperationState(operation.state)], operation.state)

    @admin.display(description="progress")
    def progress(self, operation: Operation) -> str:
        """How far it is, or how it ended."""
        return line(text.progress(operation), 300)

    @admin.display(description="tasks")
    def tasks_column(self, operation: Operation) -> str:
        """Its filter."""
        return text.described(operation, errors=True)

    @admin.display(description="tasks")
    def tasks_without_errors(self, operation: Operation) -> str:
        """Its filter, for users who may not see errors."""
        return text.described(operation, errors=False)

    @admin.display(description="started")
    def begun(self, operation: Operation) -> SafeString:
        """When it was started."""
        return moment(operation.created_at)

    @admin.display(description="by")
    def by(self, operation: Operation) -> str:
        """Who started it, and where."""
        return line(f"{operation.created_by} ({operation.created_via})")


def permission_of(verb: str) -> str:
    """The permission that a user needs for a verb."""
    return "tasks_app.delete_task" if verb == Verb.DELETE else "tasks_app.change_task"


def _page(operation: Operation) -> str:
    return reverse("admin:tasks_app_operation_change", args=(operation.pk,))


def _progress(operation: Operation) -> dict[str, Any]:
    return {
        "tried": text.tried(operation),
        "expected": text.expected(operation),
        "sentence": text.progress(operation),
    }


def _facts(operation: Operation, errors: bool) -> list[tuple[str, str]]:
    ended = operation.ended_at
    return [
        ("Tasks", text.described(operation, errors)),
        *text.options(operation),
        (
            "Started",
            f"{operation.created_at:%Y-%m-%d %H:%M:%S} by {line(operation.created_by)} ({operation.created_via})",
        ),
        *([] if ended is None else [("Ended", f"{ended:%Y-%m-%d %H:%M:%S}")]),
        ("Id", str(operation.pk)),
    ]
