"""Callbacks in the admin: the list, a page for each, those of a task on its page; sent anew, or given up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from tasks_app.admin import task_list
from tasks_app.admin.lists import (
    CappedPaginator,
    PageAdmin,
    SpanFilter,
    StrictFilter,
    StrictList,
    all_that_match,
    badge,
    column,
    moment,
)
from tasks_app.admin.navigation import Section
from tasks_app.admin.pages import actor
from tasks_app.admin.text import ago, handler_link, line, pretty, task_link
from tasks_app.db.lookups import first_id
from tasks_app.features.callbacks.models import Delivery, State, pending
from tasks_app.features.callbacks.verbs import NOT_BEING_SENT, Counted, counted, give_up, retry_deliveries
from tasks_app.handlers.words import moment_text, plural
from tasks_app.keys.api_keys import ApiKey
from tasks_app.queue.models import Task
from tasks_app.rights import CHANGE_TASKS, OPERATE, SEE_PAYLOADS, SEE_TASKS, may

TONES = {State.PENDING: "pending", State.DELIVERED: "completed", State.FAILED: "failed"}
#: Callbacks that a task's page shows, the newest; hosts that the filter names; callbacks that the list looks at if no
#: index has what it filters for.
MAX_OF_TASK, MAX_HOSTS, MAX_LOOKED_AT = 20, 30, 10_000


class StateFilter(StrictFilter):
    """By what became of them."""

    title, parameter_name = "status", "status"
    known_values = [(str(state), str(state)) for state in State]


class HostFilter(StrictFilter):
    """By host and port, whether or not it is one of the choices, which are those of the newest callbacks."""

    title, parameter_name, max_chars = "host", "host", 255

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        newest = Delivery.objects.order_by("-pk").values_list("host", flat=True)[:1_000]
        return [(host, line(host, 60)) for host in sorted({*newest})[:MAX_HOSTS]]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(host=value.lower())


class TypeFilter(task_list.TypeFilter):
    """By the type of their tasks."""

    column, narrow = "task_type", StrictFilter.narrow


class AgeFilter(SpanFilter):
    """By time of creation, which the id contains."""

    title, parameter_name = "age", "age"
    spans = {
        "day": ("more than a day", timedelta(days=1)),
        "week": ("more than 7 days", timedelta(days=7)),
        "month": ("more than 30 days", timedelta(days=30)),
    }

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(pk__lt=first_id(self.since(value)))


class NewestCallbacks(StrictList):
    """The newest first: no other order has an index. With a filter it looks at MAX_LOOKED_AT only, the newest that are
    as old, or as pending, as it says."""

    searched = ""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["-pk"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found = super().get_queryset(request, exclude_parameters)
        if self.faults or not self.narrowed:
            return found
        rows, what = Delivery.objects.order_by("-pk"), "callbacks"
        if self.params.get(str(StateFilter.parameter_name)) == [State.PENDING]:
            rows, what = rows.filter(status=State.PENDING), "pending callbacks"
        for spec in self.filter_specs:
            if isinstance(spec, AgeFilter):
                rows = spec.queryset(request, rows)
        last = rows.values_list("pk", "created_at")[MAX_LOOKED_AT : MAX_LOOKED_AT + 1].first()
        if last is None:
            return found
        self.searched = f"Looked at the newest {MAX_LOOKED_AT:,} {what}, back to {moment_text(last[1])}."
        return found.filter(pk__gt=last[0])


@admin.register(Delivery)
class CallbackAdmin(PageAdmin):
    """Who may see tasks sees callbacks, without addresses and bodies; who may change tasks sends them anew, and gives
    them up."""

    seen_by = (SEE_TASKS,)
    gone = "There is no callback {id} any more."
    changelist = NewestCallbacks
    paginator = CappedPaginator
    list_display = (
        "task_column", "type_column", "event_column", "state", "host_column", "tries", "last", "next", "age",
    )  # fmt: skip
    list_display_links = ("task_column",)
    list_filter = (StateFilter, HostFilter, TypeFilter, AgeFilter)
    list_max_show_all = 1_000
    show_full_result_count = False
    ordering = ("-pk",)
    actions = ("retry_selected", "give_up_selected")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether this user may send callbacks anew."""
        return may(request, CHANGE_TASKS)

    def has_give_up_permission(self, request: HttpRequest) -> bool:
        """Whether this user may give callbacks up."""
        return may(request, OPERATE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).defer("body", "url")

    task_column = column("task", lambda row: format_html('<span class="td-id">{}</span>', row.task))
    type_column = column("type", lambda row: line(row.task_type, 40))
    event_column = column("event", lambda row: row.event)
    state = column("status", lambda row: badge(TONES[row.status], row.status))
    host_column = column("host", lambda row: line(row.host, 60))
    last = column("last answer", lambda row: line(row.last_answer, 80))
    next = column("next try", lambda row: next_try(row, timezone.now()))
    age = column("age", lambda row: moment(row.created_at))

    @admin.action(description="Send the selected callbacks again", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse | None:
        """Ask, with a count; then send them now, with all their tries again. The newest MAX_LOOKED_AT at most."""
        newest = queryset.order_by("-pk").values("pk")[:MAX_LOOKED_AT]
        found = counted(Delivery.objects.filter(NOT_BEING_SENT, pk__in=newest))
        if "sure" not in request.POST and found.matched:
            return self._ask(request, "retry_selected", "Send again", _said(found))
        count = retry_deliveries(list(newest.values_list("pk", flat=True)), actor(request))
        said = f"{count:,} {plural(count, 'callback')} will be sent now."
        self.message_user(request, said, messages.SUCCESS if count else messages.WARNING)
        return None

    @admin.action(description="Give up the selected pending callbacks", permissions=["give_up"])
    def give_up_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse | None:
        """Ask, with a count; then let them fail without a further try. All that match: also what the list has not
        looked at."""
        rows, across = pending(), all_that_match(request.POST.get("select_across"))
        shown: Any = self.get_changelist_instance(request)
        conditions: dict[str, Any] = {}
        if not across:
            rows = rows.filter(pk__in=queryset.order_by().values("pk"))
        else:
            conditions["filters"] = shown.filtered
            rows = rows.none() if shown.faults else rows
            for spec in shown.filter_specs:
                rows = spec.queryset(request, rows)
        found = counted(rows)
        if not found.matched:
            self.message_user(request, "None of them is pending: nothing was done.", messages.WARNING)
        elif "sure" not in request.POST:
            return self._ask(request, "give_up_selected", "Give up", _said(found, "pending "))
        else:
            count, left = give_up(rows, actor(request), **conditions), counted(rows).matched
            said = f"{count:,} {plural(count, 'callback')} {plural(count, 'is', 'are')} given up."
            self.message_user(request, f"{said} {left:,} more match: do it again." if left else said, messages.SUCCESS)
        return None

    def _ask(self, request: HttpRequest, action: str, verb: str, which: str) -> HttpResponse:
        return self.page(
            request, "callbacks/sure.html", f"{verb}: are you sure?",
            action=action, said=f"{verb} {which}", across=all_that_match(request.POST.get("select_across")),
            selected=request.POST.getlist(ACTION_CHECKBOX_NAME), back=request.get_full_path(),
        )  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        retry = self.admin_site.admin_view(require_POST(self.retry_view))
        return [path("<str:object_id>/retry/", retry, name="tasks_app_delivery_retry"), *super().get_urls()]

    def show(self, request: HttpRequest, row: Delivery) -> HttpResponse:
        """What was sent, and what came of it."""
        payload = may(request, SEE_PAYLOADS)
        return self.page(
            request,
            "callbacks/callback.html",
            f"Callback {row.pk}",
            row=row,
            state=badge(TONES[State(row.status)], row.status),
            facts=_facts(row, payload),
            body=pretty(row.body, len(row.body)) if payload else None,
            may_retry=self.has_retry_permission(request),
        )

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: send it now, with all its tries again. Back to the page of its task if `task` is in the form."""
        if not self.has_retry_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self.missing(request, object_id)
        page, pk = ("task", row.task) if "task" in request.POST else ("delivery", row.pk)
        address = reverse(f"admin:tasks_app_{page}_change", args=(pk,))
        if retry_deliveries([row.pk], actor(request)):
            said = f"The callback to {line(row.host, 60)} will be sent now."
            return self.back(request, said, address, messages.SUCCESS)
        return self.back(request, "It is being sent already: nothing was done.", address)

    def audit_target(self, row: Any) -> str:
        return str(row.task)


def _said(found: Counted, kind: str = "") -> str:
    """`400 pending callbacks: 399 to ..., 1 to ...`."""
    hosts = ", ".join(f"{count:,} to {line(host, 60)}" for host, count in found.by_host.most_common())
    number = f"{'' if found.exact else 'at least '}{found.matched:,}"
    return f"{number} {kind}{plural(found.matched, 'callback')}: {hosts}"


def next_try(row: Delivery, now: datetime) -> str:
    """When it is tried next; blank if it has ended."""
    if row.next_at is None:
        return ""
    if row.sender is not None and row.next_at > now:
        return "being sent"
    return "due" if row.next_at <= now else ago(row.next_at, now)


def _facts(row: Delivery, payload: bool) -> list[tuple[str, str | SafeString]]:
    now = timezone.now()
    task: str | SafeString = str(row.task)
    if Task.objects.filter(pk=row.task).exists():
        task = format_html('<a class="td-id" href="{}">{}</a>', task_link(row.task), row.task)
    # As the sender decides with each try.
    signing = ApiKey.objects.filter(pk__in=[row.key], callback_secret__isnull=False).values_list("name", flat=True)
    key = signing.first()
    signed = "the secrets of DAEMON_CALLBACK_SECRETS" if key is None else f"the secret of the API key {line(key, 60)}"
    moments = {"Made": row.created_at, "Last try": row.last_try_at, "Ended": row.ended_at}
    return [
        ("Task", task),
        ("Type", format_html('<a href="{}">{}</a>', handler_link(row.task_type), line(row.task_type, 60))),
        ("Event", row.event),
        ("Sent to", line(row.url, 2_100) if payload else line(row.host, 260)),
        ("Signed with", signed),
        ("webhook-id", str(row.pk)),
        ("Tries", str(row.tries)),
        ("Last answer", line(row.last_answer, 80) or "none yet"),
        *([("What was wrong", line(row.last_error, 300))] if row.last_error and row.last_status is not None else []),
        *((name, f"{moment_text(at)} ({ago(at, now)})") for name, at in moments.items() if at is not None),
        *([("Next try", f"{moment_text(row.next_at)} ({next_try(row, now)})")] if row.next_at is not None else []),
    ]  # fmt: skip


def _of_task(request: HttpRequest, task: Task) -> str:
    """The callbacks of a task; that one is to come, if its end is not told yet."""
    rows = Delivery.objects.filter(task=task.pk).order_by("-created_at").defer("body", "url")
    shown, now = list(rows[: MAX_OF_TASK + 1]), timezone.now()
    if not shown and not task.callback_url:  # blank for who may not see it
        return ""
    context = {
        "rows": [
            (row, badge(TONES[State(row.status)], row.status), line(row.host, 60), line(row.last_answer, 80),
             next_try(row, now), ago(row.created_at, now))
            for row in shown[:MAX_OF_TASK]
        ],
        "more": len(shown) > MAX_OF_TASK,
        "url": line(task.callback_url, 2_100) if may(request, SEE_PAYLOADS) else "",
        "to_come": task.completed_at is None,
        "may_retry": may(request, CHANGE_TASKS),
    }  # fmt: skip
    return render_to_string("callbacks/of_task.html", context, request)


panels = {"task.facts": _of_task}
sections = [Section("Callbacks", "admin:tasks_app_delivery_changelist", 57, (SEE_TASKS,))]
