"""Operations in the admin: in words; started from the list of tasks, listed, watched and aborted."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods, require_POST

from tasks_app.admin.holds import pause_text
from tasks_app.admin.lists import PageAdmin, badge, column, moment
from tasks_app.admin.navigation import Section
from tasks_app.admin.pages import actor
from tasks_app.admin.task_list import TaskAction
from tasks_app.admin.text import ago, line
from tasks_app.feature import Link, registered
from tasks_app.features.operations import acts
from tasks_app.features.operations.acts import Preview, abort, preview, start, warnings
from tasks_app.features.operations.admin_form import Chosen, OperationForm, counted
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import OPTIONS, Plan, bulk_acts, called, fits, words
from tasks_app.features.operations.work import waits_for_canary, work_until_over
from tasks_app.handlers.words import span, utc_text
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.current import store
from tasks_app.queue.models import Status, Task
from tasks_app.queue.node_models import HandlerPause
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.rights import DELETE_MATCHING, OPERATE, SEE_PAYLOADS, SEE_TASKS, Right, may

_NAMES = {
    "statuses": "status", "types": "type", "reasons": "failure reason", "tags": "tag", "words": "error has",
    "error": "error has", "first_id": "from id", "last_id": "to id", "ended_after": "ended after",
    "ended_before": "ended before", "created_after": "created after", "created_before": "created before",
    "priority_min": "priority from", "priority_max": "priority to", "group": "failure group",
}  # fmt: skip
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
    if name in acts.OF_ERRORS and not errors:
        return "a text in the error"
    if name == "group" and (link := _group(value)) is not None:
        return f"failure group: {link.text if errors else value}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{_NAMES.get(name, name)}: {text}"


def _group(fingerprint: Any) -> Link | None:
    """A failure group, by what features know of it."""
    return next((link for links in registered("group_links") if (link := links(int(fingerprint)))), None)


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


def progress(operation: Operation) -> str:
    """How far it is, or how it ended, in a sentence."""
    if operation.state != OperationState.RUNNING:
        return operation.sentence
    said = f"{acts.counts(operation)}, of {acts.at_least(operation.matched_exact)}{acts.expected(operation):,}"
    if operation.canary is not None and not operation.canary_passed and operation.done >= operation.canary:
        return f"{said}: waits for the end of the canary."
    if acts.tried(operation):
        return f"{said}."
    return f"{said}: begins {'within a second' if current_reading().nodes else 'as soon as a node is there'}."


def _canary_waits(operation: Operation) -> list[str]:
    """Why the end of its canary takes longer, in sentences: types of its waiting tasks are paused."""
    if operation.state != OperationState.RUNNING or not waits_for_canary(operation):
        return []
    waiting = Task.objects.filter(pk__in=operation.watched, status=Status.PENDING)
    types, paused = set(waiting.values_list("task_type", flat=True)), HandlerPause.objects.by_type()
    return [
        f"“{line(name, 60)}” is paused {pause_text(paused[name])}: the canary waits until it is resumed."
        for name in sorted(types & paused.keys())
    ]


def time_left(operation: Operation, now: datetime) -> str:
    """About how long a running operation takes until it is over, in words; "" if that cannot be said."""
    seconds = acts.seconds_left(operation, now)
    return "" if seconds is None else f"{acts.at_least(operation.matched_exact)}about {span(seconds)} left"


#: A small operation is done by the web server at once, for so long at most; a node goes on with the rest.
AT_ONCE_SECONDS = 2.0
#: What each verb does, for the page before it.
EXPLAINED = {
    Verb.REDRIVE: "They go to the back of their queues, with new budgets of retries.",
    Verb.CANCEL: "They fail with the reason “cancelled”; the containers of running ones are stopped.",
    Verb.DELETE: "They are removed for good, with their attempts and logs; the containers of running ones are stopped.",
    Verb.PRIORITY: "With DAEMON_TASK_SELECTION=priority they go to the back of their new level.",
}
#: What its button says.
YES = {str(verb): verb.value for verb in Verb} | {"priority": "change the priority"}


def explained(verb: str) -> str:
    """What a verb does, for the page before it."""
    return bulk_acts()[verb].text if verb in bulk_acts() else EXPLAINED[Verb(verb)]


@admin.register(Operation)
class OperationAdmin(PageAdmin):
    """Read-only, except for an abort. Who may see tasks sees what was done to them; acts need the rights on tasks."""

    seen_by = (SEE_TASKS,)
    gone = "There is no such operation."
    list_display = ("shown_act", "state_column", "progress", "tasks_column", "begun", "by")
    ordering = ("-pk",)
    list_display_links = ("shown_act",)

    def get_list_display(self, request: HttpRequest) -> Any:
        if may(request, SEE_PAYLOADS):
            return self.list_display
        return tuple("tasks_without_errors" if each == "tasks_column" else each for each in self.list_display)

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, "tasks_app_operation"
        return [
            path("start/", view(require_http_methods(["GET", "HEAD", "POST"])(self.start_view)), name=f"{name}_start"),
            path("<str:object_id>/abort/", view(require_POST(self.abort_view)), name=f"{name}_abort"),
            *super().get_urls(),
        ]

    # The page before an operation. Its address has what was chosen: a login on the way, and the browser's "Back", lead
    # to it again.

    def start_view(self, request: HttpRequest) -> HttpResponse:
        """GET: count, and ask for the options. POST: start the operation."""
        given = request.POST if request.method == "POST" else request.GET
        chosen = Chosen.of(request, given.get("chosen", ""))
        if chosen is None:
            text = "This form was changed or is too old: select the tasks again."
            return self.back(request, text, reverse("admin:tasks_app_task_changelist"), messages.ERROR)
        if not may(request, right_of(chosen.verb)):
            raise PermissionDenied
        return self._start(request, chosen) if request.method == "POST" else self._ask(request, chosen)

    def _ask(self, request: HttpRequest, chosen: Chosen) -> HttpResponse:
        started = Operation.objects.filter(pk=chosen.operation_id).first()
        found = preview(Plan(chosen.verb, chosen.wanted)) if started is None else Preview()
        if started is None and found.exact and not found.matched and not found.unfit:
            every = chosen.verb == Verb.DELETE
            said = "No task matches any more" if every else f"None of them is {words(fits(chosen.verb))} now"
            return self.back(request, f"{said}: nothing was done.", chosen.back)
        sent, act = OPTIONS.keys() & request.GET.keys(), called(chosen.verb)
        return self.page(
            request,
            "operations/operate.html",
            f"{act.capitalize()}: {'are you sure?' if started is None else 'started'}",
            act=act,
            started=started and _page(started),
            said=started and progress(started),
            explained=explained(chosen.verb),
            yes=YES.get(chosen.verb, "do it"),
            how=chosen.how,
            counted=counted(found),
            none=found.exact and not found.matched,
            warnings=[line(sentence, 300) for sentence in warnings(chosen.verb, found.by_type)],
            form=OperationForm(chosen, request.GET if sent else None, found.matched),
            chosen=request.GET["chosen"],
            back=chosen.back,
        )

    def _start(self, request: HttpRequest, chosen: Chosen) -> HttpResponse:
        form = OperationForm(chosen, request.POST)
        if (plan := form.plan()) is None:
            sent = {name: request.POST.get(name, "") for name in ("chosen", *form.fields)}
            return HttpResponseRedirect(f"{request.path}?{urlencode(sent)}")
        try:
            operation = start(plan, actor(request), chosen.operation_id)
        except IntegrityError:
            text = "This form was sent before, and started this operation: to start another, select the tasks again."
            return self.back(request, text, _page(Operation(pk=chosen.operation_id)), messages.INFO)
        if plan.rate is None and plan.canary is None and operation.matched <= store().tasks_per_batch:
            try:
                work_until_over(operation.pk, "web", AT_ONCE_SECONDS)
            except DatabaseError:
                pass  # it is stored: a node does it
            operation.refresh_from_db()
        if operation.state == OperationState.COMPLETED:
            level = messages.SUCCESS if operation.done else messages.WARNING
            said = format_html('{} <a href="{}">The operation</a>', operation.sentence, _page(operation))
            return self.back(request, said, chosen.back, level)
        return HttpResponseRedirect(_page(operation))

    # One operation.

    def show(self, request: HttpRequest, operation: Operation) -> HttpResponse:
        """How far it is, and what it was started with."""
        errors = may(request, SEE_PAYLOADS)
        return self.page(
            request,
            "operations/operation.html",
            f"{called(operation.verb).capitalize()}: {described(operation, errors)}",
            operation=operation,
            act=called(operation.verb),
            state=self.state_column(operation),
            running=operation.state == OperationState.RUNNING,
            may_abort=may(request, right_of(operation.verb)),
            facts=_facts(operation, errors),
            tried=acts.tried(operation),
            expected=acts.expected(operation),
            sentence=progress(operation),
            canary_waits=_canary_waits(operation),
            left=time_left(operation, timezone.now()).capitalize(),
            moved=_moved(operation, errors),
            errors=errors,
            watched=operation.done > len(operation.first_moved or ()) and operation.watched_ended,
        )

    def abort_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: abort it."""
        operation = self.seen(request, object_id)
        if operation is None:
            return self.missing(request, object_id)
        if not may(request, right_of(operation.verb)):
            raise PermissionDenied
        if not abort(operation.pk, actor(request)):
            self.message_user(request, "The operation was over already.", messages.WARNING)
        return HttpResponseRedirect(_page(operation))

    # The list.

    shown_act = column(
        "operation", lambda row: called(row.verb) if row.priority is None else f"{row.verb} {row.priority}"
    )
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


#: Tasks that the page of an operation names.
MAX_LISTED = 50


def _moved(operation: Operation, errors: bool) -> dict[str, Any] | None:
    """What has become of the first tasks that an operation has moved; None: none is kept, or they were deleted.

    `tasks`: (id, badge, error, when it ended), those that failed again first; `said`: all of them in a sentence;
    `going`: some have not ended.
    """
    kept = [UUID(key) for key in operation.first_moved or ()]
    if not kept or operation.verb == Verb.DELETE:
        return None
    now, again = timezone.now(), operation.verb == Verb.REDRIVE
    read = ("task_type", "status", "failure_reason", "completed_at", *(("last_error",) if errors else ()))
    rows = Task.objects.only(*read).in_bulk(kept)
    failed = [row for row in rows.values() if again and row.status == Status.FAILED]
    numbers = Counter("deleted" if key not in rows else str(rows[key].status) for key in kept)
    if again and (failing := numbers.pop(str(Status.FAILED), 0)):
        numbers["failed again"] = failing
    some = "" if operation.done <= len(kept) else f"Of the first {len(kept):,}: "
    shown = sorted(rows.values(), key=lambda row: (row not in failed, row.pk))[:MAX_LISTED]
    return {
        "tasks": [
            (
                row.pk,
                badge(row.status, row.failure_reason.replace("_", " ") if row.failure_reason else row.status),
                line(row.last_error, 160) if errors and row in failed else "",
                ago(row.completed_at, now) if row.completed_at else "",
            )
            for row in shown
        ],
        "said": f"{some}{', '.join(f'{count:,} {name}' for name, count in numbers.most_common())}.",
        "going": any(row.status in (Status.PENDING, Status.PROCESSING) for row in rows.values()),
    }


def _facts(operation: Operation, errors: bool) -> list[tuple[str, str]]:
    ended, group = operation.ended_at, operation.filter.get("group")
    link = _group(group) if errors and group is not None else None
    return [
        ("Tasks", described(operation, errors)),
        *([("Failure group", format_html('<a href="{}">{}</a>', *link))] if link else []),
        *options(operation),
        (
            "Started",
            f"{utc_text(operation.created_at)} by {line(operation.created_by)} ({operation.created_via})",
        ),
        *([] if ended is None else [("Ended", utc_text(ended))]),
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
            "act": called(operation.verb),
            "described": described(operation, errors),
            "left": time_left(operation, now),
            "by": line(operation.created_by, 60),
            "tried": acts.tried(operation),
            "expected": acts.expected(operation),
            "sentence": progress(operation),
        }
        for operation in operations[:MAX_SHOWN]
    ]
    context = {"rows": rows, "more": len(operations) > MAX_SHOWN}
    return render_to_string("operations/running.html", context) if rows else ""


panels = {"dashboard.running": _running}
sections = [Section("Operations", "admin:tasks_app_operation_changelist", 60, (SEE_TASKS,))]


# What the list of tasks, and pages about failures, offer.


def _address(verb: str, request: HttpRequest, wanted: TaskFilter, back: str, how: str) -> str:
    chosen = Chosen(verb, wanted, back, how)
    return f"{reverse('admin:tasks_app_operation_start')}?{urlencode({'chosen': chosen.kept(request)})}"


task_actions = [
    TaskAction(name, description, right_of(verb), partial(_address, verb), of_failures)
    for name, description, verb, of_failures in (
        ("redrive_selected", "Redrive the selected failed tasks", Verb.REDRIVE, "Redrive…"),
        ("cancel_selected", "Cancel the selected tasks", Verb.CANCEL, ""),
        ("priority_selected", "Change the priority of the selected pending tasks", Verb.PRIORITY, ""),
        ("delete_selected_tasks", "Delete the selected tasks", Verb.DELETE, ""),
        *((f"{act.verb}_selected", act.selected, act.verb, "") for act in bulk_acts().values()),
    )
]
