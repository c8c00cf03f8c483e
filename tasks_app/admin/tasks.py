"""One task in the admin: its page, and what operators do to it: redrive, cancel, delete, edit, change its priority.

`audit.act_on_task` does it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from tasks_app import conf
from tasks_app.admin.detail import DONE_OR_EDITED, as_json, detail
from tasks_app.admin.holds import SEEN
from tasks_app.admin.pages import actor
from tasks_app.admin.task_list import TaskList
from tasks_app.admin.text import MAX_SHOWN_CHARS, task_link
from tasks_app.audit import TaskUnfit, act_on_task
from tasks_app.queue.large_values import unreadable
from tasks_app.queue.models import FITS, Status, Task
from tasks_app.queue.redrive import LivingTwin
from tasks_app.queue.strict_json import BadJSON, loads_data
from tasks_app.queue.submission import too_large
from tasks_app.rights import CHANGE_TASKS, DELETE_TASKS, SEE_AUDIT_LOG, SEE_PAYLOADS, Right, may
from tasks_app.runner.wire import encode


class Act(NamedTuple):
    """An act and its texts. `unless`: why it skips a task."""

    name: str
    right: Right
    unless: str
    explained: str


REDRIVE = Act(
    "redrive", CHANGE_TASKS, "not failed",
    "It goes to the back of its queue, with a new budget of retries.",
)  # fmt: skip
CANCEL = Act(
    "cancel", CHANGE_TASKS, "ended already",
    "It fails with the reason “cancelled”; if it runs, its container is stopped and its result dropped.",
)  # fmt: skip
DELETE = Act(
    "delete", DELETE_TASKS, "gone already",
    "It is removed for good, with its attempts and logs; if it runs, its container is stopped.",
)  # fmt: skip

EDIT, PRIORITY = "edit", "priority"
AGAIN = "The task has run and failed again since this form was shown"
#: The status of the tasks that a form changes.
CHANGEABLE = {EDIT: Status.FAILED, PRIORITY: Status.PENDING}


class PriorityForm(forms.Form):
    """Another priority."""

    priority = forms.IntegerField(min_value=0, max_value=100)


class EditForm(PriorityForm):
    """Other data and another priority."""

    task_data = forms.CharField(
        label="Data",
        widget=forms.Textarea(attrs={"rows": 16, "spellcheck": "false", "class": "td-json"}),
        strip=False,
        help_text="A JSON object; the handler gets it as `task_data`.",
    )
    #: When the task that the form shows had failed: it may have been edited, redriven and failed again meanwhile.
    failed_at = forms.CharField(required=False, widget=forms.HiddenInput)
    field_order = ("task_data", "priority")

    def clean_task_data(self) -> Any:
        """The data as POST takes it."""
        try:
            data = loads_data(self.cleaned_data["task_data"])
        except BadJSON as fault:
            raise ValidationError(str(fault)) from None
        if not isinstance(data, dict):
            raise ValidationError('The data must be a JSON object such as {"limit": 1000}.')
        if (sentence := too_large(encode(data), conf.environment().max_body)) is not None:
            raise ValidationError(sentence)
        return data


@admin.register(Task)
class TaskAdmin(TaskList):
    """Read-only, except for the acts of operators."""

    gone = "There is no task {id} any more."

    def has_delete_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return may(request, DELETE_TASKS)

    def get_urls(self) -> list[URLPattern]:
        views: dict[str, Callable[..., HttpResponse]] = {
            "json": self.json_view,
            REDRIVE.name: partial(self._act, REDRIVE),
            CANCEL.name: partial(self._ask_and_act, CANCEL),
            EDIT: partial(self._change, EDIT),
            PRIORITY: partial(self._change, PRIORITY),
        }
        return [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"tasks_app_task_{name}")
            for name, view in views.items()
        ] + super().get_urls()

    def show(self, request: HttpRequest, task: Task) -> HttpResponse:
        """All that is known of it, and the acts that fit."""
        acts = [act.name for act in (REDRIVE, CANCEL, DELETE) if may(request, act.right)]
        edit = None
        if task.status == Status.FAILED and may(request, CHANGE_TASKS) and may(request, SEE_PAYLOADS):
            edit = (f"admin:tasks_app_task_{EDIT}", "Edit and redrive…")
        if task.status == Status.PENDING and may(request, CHANGE_TASKS):
            edit = (f"admin:tasks_app_task_{PRIORITY}", "Priority…")
        return self.page(
            request,
            "taskdaemon/task.html",
            f"Task {task.pk}",
            original=task,
            detail=detail(task, may(request, SEE_PAYLOADS), may(request, SEE_AUDIT_LOG)),
            buttons=[(name, f"admin:tasks_app_task_{name}") for name in acts if task.status in FITS[name]],
            edit=edit,
            seen=str(task.completed_at),
        )

    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The complete task as JSON, whatever its size, without what the user may not see."""
        task = self.seen(request, object_id)
        return (task and as_json(task.pk, may(request, SEE_PAYLOADS))) or self.missing(request, object_id)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return self._ask_and_act(DELETE, request, object_id)

    def _ask_and_act(self, act: Act, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET: ask for confirmation. POST: act on the task."""
        if request.method not in ("GET", "HEAD"):
            return self._act(act, request, object_id)
        task = self.seen(request, object_id)
        if not may(request, act.right):
            raise PermissionDenied
        if task is None:
            return self.missing(request, object_id)
        return self.page(
            request,
            "taskdaemon/sure.html",
            f"{act.name.capitalize()}: are you sure?",
            task_action=act,
            task=task,
            unfit=task.status not in FITS[act.name],
            running=task.status == Status.PROCESSING,
        )

    def _act(self, act: Act, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: act on the task."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        task = self.seen(request, object_id)
        if not may(request, act.right):
            raise PermissionDenied
        if task is None:
            return self.missing(request, object_id)
        if (
            act is REDRIVE
            and task.status == Status.FAILED
            and request.POST.get(SEEN, "") not in ("", str(task.completed_at))
        ):
            text = f"{AGAIN}: nothing was done. Redrive it once more if you mean that."
            return self.back(request, text, task_link(task.pk))
        self._do(act.name, request, task, f"was skipped: {act.unless}")
        if act is DELETE:
            return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))
        return HttpResponseRedirect(task_link(task.pk))

    def _change(self, name: str, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET: the form. POST: change the task."""
        # The form of an edit shows the data, which is a payload.
        if not may(request, CHANGE_TASKS) or (name == EDIT and not may(request, SEE_PAYLOADS)):
            raise PermissionDenied
        task: Task | None = self.get_object(request, object_id)
        if task is None:
            return self.back(request, "There is no such task any more.")
        shown, fault = "", ""
        if task.status != CHANGEABLE[name]:
            fault = f"The task is {task.status}, not {CHANGEABLE[name]}: nothing was changed."
        elif name == EDIT and unreadable(task.pk, ("task_data",)):
            fault = "The data is too large to be read and edited here: post a new task instead."
        elif name == EDIT:
            shown = json.dumps(task.task_data, ensure_ascii=False, indent=2)
            if len(shown) > MAX_SHOWN_CHARS:
                fault = f"The data has {len(shown):,} characters, too many to edit here: post a new task instead."
        initial = {"task_data": shown, "priority": task.priority, "failed_at": str(task.completed_at)}
        posted = request.POST if request.method == "POST" else None
        form = (EditForm if name == EDIT else PriorityForm)(posted, initial=initial)
        changes = not fault and form.is_valid()
        if changes and form.cleaned_data.get("failed_at", "") not in ("", initial["failed_at"]):
            fault = f"{AGAIN}: nothing was changed."
        if fault:
            self.message_user(request, fault, messages.WARNING)
        elif changes:
            wanted = {"data": form.cleaned_data.get("task_data"), "priority": form.cleaned_data["priority"]}
            verb = REDRIVE.name if name == EDIT else name
            self._do(verb, request, task, "has changed meanwhile: nothing was done", **wanted)
        if fault or changes:
            return HttpResponseRedirect(task_link(task.pk))
        title = "Edit and redrive" if name == EDIT else "Change the priority"
        return self.page(request, "taskdaemon/edit.html", title, original=task, form=form, editing=name == EDIT)

    def _do(self, verb: str, request: HttpRequest, task: Task, skipped: str, **changes: Any) -> None:
        """Act on the task, and say so. `skipped`: what is said of a task that does not fit."""
        level = messages.WARNING
        try:
            with act_on_task(actor(request), verb, task.pk, **changes):
                done = EDIT if verb == REDRIVE.name and changes else verb
                said: str = f"The task {task} was {DONE_OR_EDITED[done]}."
                level = messages.SUCCESS
        except LivingTwin as twin:
            said = format_html(
                'The task {} was skipped: <a href="{}">the task {}</a> has the same unique key and has not ended.',
                task, task_link(twin.task), twin.task,
            )  # fmt: skip
        except TaskUnfit:
            said = f"The task {task} {skipped}."
        self.message_user(request, said, level)
