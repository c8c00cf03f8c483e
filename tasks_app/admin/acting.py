"""What a page says after an action on one task."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app import conf
from tasks_app.admin.rights import actor, acts_on_tasks, sees_payloads
from tasks_app.admin.task_list import TaskList
from tasks_app.admin.text import MAX_SHOWN_CHARS
from tasks_app.audit.record import Actor, record
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.current import writing
from tasks_app.queue.models import Status, Task
from tasks_app.queue.redrive import LivingTwin, edit_and_redrive, prioritize, redrive
from tasks_app.queue.strict_json import BadJSON, loads_data
from tasks_app.queue.submission import encode, too_large
from tasks_app.queue.unsized import unreadable


def beside(task: Task, twin: UUID) -> SafeString:
    """Why a task was not redriven, with a link to the task that has its unique key."""
    address = reverse("admin:tasks_app_task_change", args=(twin,))
    return format_html(
        'The task {} was skipped: <a href="{}">the task {}</a> has the same unique key and has not ended.',
        *(task, address, twin),
    )


# What operators do to one task: each action calls a verb of `queue` and is in the audit log with its user.


@dataclass(frozen=True)
class Action:
    """An action and its texts. `permission`: Django's codename; `fits`: statuses; `unless`: why it skips a task."""

    name: str
    permission: str
    done: str
    unless: str
    fits: frozenset[str]
    explained: str
    verb: Callable[[UUID, str], bool]


ACTIONS = {
    task_action.name: task_action
    for task_action in (
        Action(
            "redrive",
            "change",
            "redriven",
            "not failed",
            frozenset({Status.FAILED}),
            "It goes to the back of its queue, with a new budget of retries.",
            lambda task_id, _: redrive(task_id),
        ),
        Action(
            "cancel",
            "change",
            "cancelled",
            "ended already",
            frozenset({Status.PENDING, Status.PROCESSING}),
            "It fails with the reason “cancelled”; if it runs, its container is stopped and its result dropped.",
            lambda task_id, who: cancel(task_id, f"cancelled by {who}"),
        ),
        Action(
            "delete",
            "delete",
            "deleted",
            "gone already",
            frozenset(Status),
            "It is removed for good, with its attempts and logs; if it runs, its container is stopped.",
            lambda task_id, _: delete(task_id),
        ),
    )
}


def act(task_action: Action, actor: Actor, task_id: UUID, task_type: str) -> bool:
    """Perform the action on one task, and record it in the same commit. False if the task did not fit.

    Raises LivingTwin if it is a redrive that would give a unique key to two tasks; that ends the transaction.
    """
    with writing():
        if not task_action.verb(task_id, actor.name):
            return False
        record(actor, task_action.name, str(task_id), type=task_type)
    return True


# Changes of one task: edit and redrive a failed one, change the priority of a pending one.

#: Of the data before and after, in the audit log.
MAX_RECORDED_CHARS = 4000
EDIT, PRIORITY = "edit", "priority"
DONE = {EDIT: "edited and redriven", PRIORITY: "given another priority"}


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


class Editing(TaskList):
    """The pages with these forms."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path(f"<path:object_id>/{name}/", view(page), name=f"tasks_app_task_{name}")
            for name, page in ((EDIT, self.edit_view), (PRIORITY, self.priority_view))
        ] + super().get_urls()

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET: the form. POST: change the failed task and redrive it."""
        return self._change(request, object_id, EDIT, Status.FAILED)

    def priority_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET: the form. POST: change the pending task's priority."""
        return self._change(request, object_id, PRIORITY, Status.PENDING)

    def _change(self, request: HttpRequest, object_id: str, name: str, status: Status) -> HttpResponse:
        # The form shows the data, which is a payload.
        if not acts_on_tasks(request) or (name == EDIT and not sees_payloads(request)):
            raise PermissionDenied
        task: Task | None = self.get_object(request, object_id)
        if task is None:
            self.message_user(request, "There is no such task any more.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))
        page = HttpResponseRedirect(reverse("admin:tasks_app_task_change", args=(task.pk,)))
        if task.status != status:
            self.message_user(
                request, f"The task is {task.status}, not {status}: nothing was changed.", messages.WARNING
            )
            return page
        if name == EDIT and unreadable(task.pk, ("task_data",)):
            text = "The data is too large to be read and edited here: post a new task instead."
            self.message_user(request, text, messages.WARNING)
            return page
        shown = _shown(task.task_data) if name == EDIT else ""
        if len(shown) > MAX_SHOWN_CHARS:
            text = f"The data has {len(shown):,} characters, too many to edit here: post a new task instead."
            self.message_user(request, text, messages.WARNING)
            return page
        kind = EditForm if name == EDIT else PriorityForm
        initial = {"task_data": shown, "priority": task.priority, "failed_at": str(task.completed_at)}
        form = kind(request.POST if request.method == "POST" else None, initial=initial)
        if request.method == "POST" and form.is_valid():
            if form.cleaned_data.get("failed_at", "") not in ("", initial["failed_at"]):
                text = "The task has run and failed again since this form was shown: nothing was changed."
                self.message_user(request, text, messages.WARNING)
                return page
            self._save(request, task, name, form.cleaned_data)
            return page
        context = {
            **self.admin_site.each_context(request),
            "title": "Edit and redrive" if name == EDIT else "Change the priority",
            "original": task,
            "form": form,
            "editing": name == EDIT,
            "media": self.media,
        }
        return TemplateResponse(request, "taskdaemon/edit.html", context)

    def _save(self, request: HttpRequest, task: Task, name: str, given: dict[str, Any]) -> None:
        priority = given["priority"]
        details: dict[str, Any] = {"type": task.task_type}
        try:
            with writing():
                if name == EDIT:
                    before = edit_and_redrive(task.pk, given["task_data"], priority)
                    was = None if before is None else before.priority
                    if before is not None and encode(before.task_data) != encode(given["task_data"]):
                        details["data"] = [_recorded(before.task_data), _recorded(given["task_data"])]
                else:
                    was = prioritize(task.pk, priority)
                if was is None:
                    self.message_user(request, "The task has changed meanwhile: nothing was done.", messages.WARNING)
                    return
                if was != priority:
                    details["priority"] = [was, priority]
                record(actor(request), name, str(task.pk), **details)
        except LivingTwin as twin:
            self.message_user(request, beside(task, twin.task), messages.WARNING)
            return
        self.message_user(request, f"The task {task} was {DONE[name]}.", messages.SUCCESS)


def _shown(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2)


def _recorded(data: Any) -> str:
    text = encode(data)
    return text if len(text) <= MAX_RECORDED_CHARS else f"{text[:MAX_RECORDED_CHARS]}... ({len(text):,} characters)"
