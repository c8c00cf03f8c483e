"""Operations in the admin: in words; started from the list of tasks, listed, watched and aborted."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from tasks_app.admin.lists import PageAdmin, badge, column, moment
from tasks_app.admin.navigation import Section
from tasks_app.admin.pages import actor
from tasks_app.admin.task_list import TaskAction
from tasks_app.admin.text import line
from tasks_app.features.operations import acts
from tasks_app.features.operations.acts import abort, preview, start, warnings
from tasks_app.features.operations.admin_form import Chosen, OperationForm, counted
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import Plan
from tasks_app.features.operations.work import work_until_over
from tasks_app.handlers.words import span
from tasks_app.queue.current import store
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.rights import DELETE_MATCHING, OPERATE, SEE_PAYLOADS, SEE_TASKS, Right, may

_NAMES = {
    "statuses": "status", "types": "type", "reasons": "failure reason", "tags": "tag", "words": "error has",
    "error": "error has", "first_id": "from id", "last_id": "to id", "ended_after": "ended after",
    "ended_before": "ended before", "created_after": "created after", "created_before": "created before",
    "priority_min": "priority from", "priority_max": "priority to", "group": "failure group",
}  # fmt: skip
#: Conditions that quote errors.
_OF_ERRORS = frozenset({"words", "error"})
TONES = {
    OperationState.RUNNING: "processing", OperationState.COMPLETED: "completed", OperationState.ABORTED: "none",
    OperationState.STOPPED: "failed",
}  # fmt: skip


def described(operation: Operation, errors: bool) -> str:
    """Its filter, as part of a sentence. `errors`: the reader may see errors, and what was looked for in them."""
    given = operation.filter
    # The largest id alone says only that later tasks do not match.
    found = [_condition(name, given[name], errors) for name in given if name != "last_id" or "first_id" in given]
    if operation.types is not None:
        found.append(f"types of its key: {', '.join(operation.types)}")
    return line(", ".join(found) or "all tasks", 300)


def _condition(name: str, value: Any, errors: bool) -> str:
    if name == "ids":
        return f"{len(value):,} selected"
    if name in _OF_ERRORS and not errors:
        return "a text in the error"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{_NAMES.get(name, name)}: {text}"


def options(operation: Operation) -> list[tuple[str, str]]:
    """Its options that are set, as (name, value)."""
    found = [
        ("New priority", operation.priority),
        ("Rate", None if operation.rate is None else f"{operation.rate:g} tasks a second"),
        ("Limit", None if operation.limit is None else f"{operation.limit:,} tasks"),
        ("Canary", None if operation.canary is None else f"{operation.canary} tasks first"),
        ("Stops at", None if operation.stop_share is None else f"more than {operation.stop_share:.0%} failed again"),
    ]
    return [(name, str(value)) for name, value in found if value is not None]


def tried(operation: Operation) -> int:
    """The tasks that it has passed."""
    return int(operation.done + operation.failed + sum(operation.skipped.values()))


def expected(operation: Operation) -> int:
    """The tasks that it has to pass, at least one."""
    all_of_them = operation.matched if operation.limit is None else min(operation.matched, operation.limit)
    return max(all_of_them, tried(operation), 1)


def progress(operation: Operation) -> str:
    """How far it is, or how it ended, in a sentence."""
    if operation.state != OperationState.RUNNING:
        return operation.sentence
    at_least = "" if operation.matched_exact else "at least "
    said = f"{acts.counts(operation)}, of {at_least}{expected(operation):,}"
    if operation.canary is not None and not operation.canary_passed and operation.done >= operation.canary:
        return f"{said}: waits for the end of the canary."
    return f"{said}." if tried(operation) else f"{said}: begins as soon as a node is there."


def time_left(operation: Operation, now: datetime) -> str:
    """About how long a running operation takes until it is over, in words; "" if that cannot be said.

    As fast as its rate, or as it was so far. An operation that waits for its canary has no such time.
    """
    passed = tried(operation)
    waits = operation.canary is not None and not operation.canary_passed
    if operation.state != OperationState.RUNNING or waits or not passed:
        return ""
    each = 1 / operation.rate if operation.rate else (now - operation.created_at).total_seconds() / passed
    at_least = "" if operation.matched_exact else "at least "
    return f"{at_least}about {span((expected(operation) - passed) * each)} left"


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
class OperationAdmin(PageAdmin):
    """Read-only, except for an abort. Who may see tasks sees what was done to them; acts need the rights on tasks."""

    seen_by = (SEE_TASKS,)
    gone = "There is no such operation."
    list_display = ("shown_verb", "state_column", "progress", "tasks_column", "begun", "by")
    ordering = ("-pk",)
    list_display_links = ("shown_verb",)

    def get_list_display(self, request: HttpRequest) -> Any:
        if may(request, SEE_PAYLOADS):
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
        return self.page(
            request,
            "operations/operate.html",
            f"{chosen.verb.capitalize()}: are you sure?",
            verb=chosen.verb,
            explained=EXPLAINED[Verb(chosen.verb)],
            how=how,
            counted=counted(found),
            none=not found.matched,
            warnings=[line(sentence, 300) for sentence in warnings(chosen.verb, found.by_type)],
            form=form,
            chosen=chosen.signed(),
            back=chosen.back,
        )

    def start_view(self, request: HttpRequest) -> HttpResponse:
        """POST: start the operation that the page before described."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        chosen = Chosen.of(request.POST.get("chosen", ""))
        if chosen is None:
            self.message_user(request, "This form was changed or is too old: select the tasks again.", messages.ERROR)
            return HttpResponseRedirect(reverse("admin:tasks_app_task_changelist"))
        if not may(request, right_of(chosen.verb)):
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

    def show(self, request: HttpRequest, operation: Operation) -> HttpResponse:
        """How far it is, and what it was started with."""
        errors = may(request, SEE_PAYLOADS)
        return self.page(
            request,
            "operations/operation.html",
            f"{operation.verb.capitalize()}: {described(operation, errors)}",
            operation=operation,
            state=self.state_column(operation),
            running=operation.state == OperationState.RUNNING,
            may_abort=may(request, right_of(operation.verb)),
            facts=_facts(operation, errors),
            **_progress(operation),
        )

    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """How far it is, for the page's script."""
        operation = self.seen(request, object_id)
        if operation is None:
            return JsonResponse({"state": "gone"}, status=404)
        return JsonResponse({"state": operation.state, **_progress(operation)})

    def abort_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: abort it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        operation = self.seen(request, object_id)
        if operation is None:
            return self.missing(request, object_id)
        if not may(request, right_of(operation.verb)):
            raise PermissionDenied
        if not abort(operation.pk, actor(request)):
            self.message_user(request, "The operation was over already.", messages.WARNING)
        return HttpResponseRedirect(_page(operation))

    # The list.

    shown_verb = column("operation", lambda row: row.verb if row.priority is None else f"{row.verb} {row.priority}")
    state_column = column("state", lambda operation: badge(TONES[OperationState(operation.state)], operation.state))
    progress = column("progress", lambda operation: line(progress(operation), 300))
    tasks_column = column("tasks", lambda operation: described(operation, errors=True))
    tasks_without_errors = column("tasks", lambda operation: described(operation, errors=False))
    begun = column("started", lambda operation: moment(operation.created_at))
    by = column("by", lambda operation: line(f"{operation.created_by} ({operation.created_via})"))


def right_of(verb: str) -> Right:
    """The right to do it, and to abort it."""
    return DELETE_MATCHING if verb == Verb.DELETE else OPERATE


def _page(operation: Operation) -> str:
    return reverse("admin:tasks_app_operation_change", args=(operation.pk,))


def _progress(operation: Operation) -> dict[str, Any]:
    return {
        "tried": tried(operation),
        "expected": expected(operation),
        "sentence": progress(operation),
    }


def _facts(operation: Operation, errors: bool) -> list[tuple[str, str]]:
    ended = operation.ended_at
    return [
        ("Tasks", described(operation, errors)),
        *options(operation),
        (
            "Started",
            f"{operation.created_at:%Y-%m-%d %H:%M:%S} by {line(operation.created_by)} ({operation.created_via})",
        ),
        *([] if ended is None else [("Ended", f"{ended:%Y-%m-%d %H:%M:%S}")]),
        ("Id", str(operation.pk)),
    ]


# What the dashboard shows.

#: Of the operations that run, the newest ones.
MAX_SHOWN = 10


def _running(request: HttpRequest, _: None) -> str:
    """The operations that run; blank without one."""
    running = Operation.objects.filter(state=OperationState.RUNNING).order_by("-pk")
    operations = list(running[: MAX_SHOWN + 1])
    errors, now = may(request, SEE_PAYLOADS), timezone.now()
    rows = [
        {
            "link": _page(operation),
            "verb": operation.verb,
            "described": described(operation, errors),
            "left": time_left(operation, now),
            "by": line(operation.created_by, 60),
            **_progress(operation),
        }
        for operation in operations[:MAX_SHOWN]
    ]
    context = {"rows": rows, "more": len(operations) > MAX_SHOWN}
    return render_to_string("operations/running.html", context) if rows else ""


panels = {"dashboard.running": _running}
sections = [Section("Operations", "admin:tasks_app_operation_changelist", 60, (SEE_TASKS,))]


# What the list of tasks offers.


def _ask(verb: Verb, request: HttpRequest, wanted: TaskFilter, back: str, how: str) -> HttpResponse:
    return OperationAdmin(Operation, admin.site).ask(request, Chosen(verb, wanted, back), how)


task_actions = [
    TaskAction(name, description, right_of(verb), partial(_ask, verb))
    for name, description, verb in (
        ("redrive_selected", "Redrive the selected failed tasks", Verb.REDRIVE),
        ("cancel_selected", "Cancel the selected tasks", Verb.CANCEL),
        ("priority_selected", "Change the priority of the selected pending tasks", Verb.PRIORITY),
        ("delete_selected_tasks", "Delete the selected tasks", Verb.DELETE),
    )
]
