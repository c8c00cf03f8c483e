"""The audit log in the admin: its filters, each of which has an index that ends with the time, the log as a file, the
list, and what other pages show of it. Nothing here changes the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Max, Q, QuerySet, Subquery
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponseBase
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from tasks_app.admin.lists import SPANS, CappedPaginator, ReadOnlyAdmin, SpanFilter, StrictFilter, StrictList, column
from tasks_app.admin.navigation import Section
from tasks_app.admin.table_files import FORMATS, export_file
from tasks_app.admin.text import is_id, line
from tasks_app.audit import AuditEntry
from tasks_app.handlers.words import utc_text
from tasks_app.keys.api_keys import ApiKey
from tasks_app.queue.models import Task
from tasks_app.rights import SEE_AUDIT_LOG, SEE_PAYLOADS, may

MAX_CHOICES = 30
MAX_VALUE_CHARS = 150
#: Looked through for actors that are no users or keys any more, or never were.
NEWEST_LINES = 1_000
WAYS = {"admin": "the admin", "api": "the API", "command": "a command"}


class ActorFilter(StrictFilter):
    """By user, API key or system account: those that act now, then others of the newest lines."""

    title, parameter_name, max_chars = "who", "actor", MAX_VALUE_CHARS

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        users = get_user_model().objects.filter(is_staff=True).order_by("username").values_list("username", flat=True)
        keys = ApiKey.objects.order_by("name").values_list("name", flat=True)
        newest = AuditEntry.objects.order_by("-at", "-id").values_list("actor", flat=True)[:NEWEST_LINES]
        others = sorted({*newest})[:MAX_CHOICES]
        names = dict.fromkeys([*users[:MAX_CHOICES], *keys[:MAX_CHOICES], *others])
        return [(name, line(name, 40)) for name in names if name]


class ViaFilter(StrictFilter):
    """By the way: admin, API, command."""

    title, parameter_name, known_values = "way", "via", WAYS.items()


class ActFilter(StrictFilter):
    """By what was done."""

    title, parameter_name, column, max_chars = "act", "act", "action", MAX_VALUE_CHARS

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, name.replace("_", " ")) for name in _known_acts()]


class TimeFilter(SpanFilter):
    """By time."""

    title, parameter_name = "time", "time"
    spans = {**SPANS, "month": ("past 30 days", timedelta(days=30))}

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(at__gte=self.since(value))


def _known_acts() -> list[str]:
    """The acts that the log has, each found by one step in the index, however many lines there are."""
    found: list[str] = []
    acts = AuditEntry.objects.order_by("action").values_list("action", flat=True)
    while len(found) < MAX_CHOICES and (name := acts.filter(action__gt=found[-1] if found else "").first()) is not None:
        found.append(name)
    return found


# The audit log as a file. It is read in pages, so that its size costs neither memory nor a long transaction.

COLUMNS = ("at", "actor", "via", "action", "target", "count", "details")
ROWS_PER_PAGE = 1000


def export_audit_log(request: HttpRequest, entries: QuerySet[AuditEntry], form: str) -> HttpResponseBase:
    """The file of these entries, the latest first; 503 without a free place. `form`: a key of FORMATS.

    The details are left out for users who may not see payloads.
    """
    columns = COLUMNS if may(request, SEE_PAYLOADS) else COLUMNS[:-1]
    # Without the line of this export.
    entries = entries.filter(pk__lte=AuditEntry.objects.aggregate(last=Max("pk", default=0))["last"])
    pages = ([_row(entry, columns) for entry in page] for page in _pages(entries))
    shown = {"filter": request.GET.dict(), "payloads": "details" in columns}
    return export_file(request, "audit-log", form, columns, ("details",), pages, **shown)


def _pages(entries: QuerySet[AuditEntry]) -> Iterator[list[AuditEntry]]:
    """All entries in pages. Those that are written meanwhile come before the first, and are left out."""
    rows = entries.order_by("-at", "-id")
    page = list(rows[:ROWS_PER_PAGE])
    while page:
        yield page
        last = page[-1].pk
        # The time as it is stored: SQLite compares texts, and a time that was read has other digits.
        at = Subquery(AuditEntry.objects.filter(pk=last).values("at"))
        # Both conditions on the time: the last one is a range of the index.
        page = list(rows.filter(Q(at__lt=at) | Q(at=at, id__lt=last), at__lte=at)[:ROWS_PER_PAGE])


def _row(entry: AuditEntry, columns: Sequence[str]) -> list[Any]:
    values = (getattr(entry, name) for name in columns)
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value for value in values]


#: Of the details, in the list.
MAX_DETAIL_CHARS = 300


class LatestFirst(StrictList):
    """Orders by time, as all indexes of the log do, and ignores the address."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["-at", "-id"]

    @property
    def exports(self) -> list[tuple[str, str]]:
        """The name and the address of each format, with the filters of the list."""
        known = {SEARCH_VAR, *(str(spec.parameter_name) for spec in self.filter_specs)}  # type: ignore[attr-defined]
        kept = {name: value for name, value in self.params.items() if name in known}
        address = reverse("admin:tasks_app_auditentry_export")
        return [(one.title, f"{address}?{urlencode({**kept, 'format': form})}") for form, one in FORMATS.items()]


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyAdmin):
    """One line for each act. Nothing here changes the log."""

    list_display = ("when", "who", "way", "act", "shown_target", "count", "shown_details")
    list_filter = (ActorFilter, ViaFilter, ActFilter, TimeFilter)
    list_display_links = None
    show_full_result_count = False
    changelist = LatestFirst
    paginator = CappedPaginator
    ordering = ("-at", "-id")
    search_fields = ("target",)
    search_help_text = "What it was done to, in full: a task's id, or the name of a handler, a node, a key or a user"
    fields = list_display
    readonly_fields = fields
    actions = None

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_display if may(request, SEE_PAYLOADS) else self.list_display[:-1]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_list_display(request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        term = search_term.strip()
        return (queryset.filter(target=term) if term else queryset), False

    def audit_target(self, row: Any) -> str:
        return str(row.target)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_GET(self.export_view))
        return [path("export/", view, name="tasks_app_auditentry_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """The lines that the list's address finds, as a file. `format`: csv or jsonl. 503 without a free place."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form, filters = request.GET.get("format", ""), request.GET.copy()
        filters.pop("format", None)
        request.GET = filters  # type: ignore[assignment]
        page = self.get_changelist_instance(request)
        fault = "" if form in FORMATS else f"There is no format “{line(form, 40)}”: known are {', '.join(FORMATS)}."
        for sentence in [fault, *getattr(page, "faults", ())]:
            if sentence:
                return self.back(request, f"{sentence} Nothing was exported.", level=messages.ERROR)
        return export_audit_log(request, page.queryset, form)

    when = column("time (UTC)", lambda entry: utc_text(entry.at))
    who = column("who", lambda entry: line(entry.actor, 80))
    way = column("by way of", lambda entry: WAYS.get(entry.via, line(entry.via)))
    act = column("act", lambda entry: line(entry.action.replace("_", " ")))

    @admin.display(description="to what")
    def shown_target(self, entry: AuditEntry) -> SafeString:
        """The target; the id of an operation or a task links to its page, if there is one."""
        shown = line(entry.target, 120)
        if not is_id(entry.target):
            return format_html("{}", shown)
        kind = "operation" if entry.details and entry.details.get("operation") else "task"
        try:
            page = reverse(f"admin:tasks_app_{kind}_change", args=(entry.target,))
        except NoReverseMatch:
            return format_html("{}", shown)
        return format_html('<a href="{}">{}</a>', page, shown)

    @admin.display(description="details")
    def shown_details(self, entry: AuditEntry) -> str:
        """The details that are set, shortened, by name, as in `canary: 1, rate: 5.0`."""
        given = {name: value for name, value in sorted((entry.details or {}).items()) if value is not None}
        if entry.action in ("edit", "priority"):  # of a task: [old, new]
            pairs = {name: value for name, value in given.items() if isinstance(value, list) and len(value) == 2}
            given |= {name: {"old": old, "new": new} for name, (old, new) in pairs.items()}
        said = ", ".join(f"{name.replace('_', ' ')}: {_shown(value)}" for name, value in given.items())
        return line(said, MAX_DETAIL_CHARS)


def _shown(value: Any) -> str:
    """A value as people write it; one that was changed as `no → yes`."""
    if value in ("", [], {}, None):
        return "none"
    if isinstance(value, dict) and value.keys() == {"old", "new"}:
        return f"{_shown(value['old'])} → {_shown(value['new'])}"
    if isinstance(value, dict):
        return " and ".join(f"{name.replace('_', ' ')} {_shown(one)}" for name, one in sorted(value.items()))
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


# What the engine's pages show of it.

#: Lines on the dashboard.
MAX_ACTS = 8


def acts_page(target: str) -> str:
    """The address of the log's lines about a target."""
    return f"{reverse('admin:tasks_app_auditentry_changelist')}?{urlencode({'q': target})}"


def _latest(request: HttpRequest, _: None) -> str:
    """The latest acts, each with a link to the log's lines of the same target."""
    if not may(request, SEE_AUDIT_LOG):
        return ""
    acts = [
        {
            "at": entry.at,
            "actor": line(entry.actor, 60),
            "action": entry.action.replace("_", " "),
            "target": line(entry.target, 80) + (f" ({entry.count:,})" if entry.count != 1 else ""),
            "link": acts_page(entry.target),
        }
        for entry in AuditEntry.objects.order_by("-at", "-id")[:MAX_ACTS]
    ]
    return render_to_string("audit/latest_acts.html", {"acts": acts})


def _history(request: HttpRequest, task: Task) -> str:
    """A button that leads to the acts on a task."""
    if not may(request, SEE_AUDIT_LOG):
        return ""
    address = reverse("admin:tasks_app_task_history", args=(task.pk,))
    return format_html('<a class="button td-button td-quiet" href="{}">History</a>', address)


panels = {"dashboard.end": _latest, "task.buttons": _history}
sections = [Section("Audit", "admin:tasks_app_auditentry_changelist", 70, (SEE_AUDIT_LOG,))]
