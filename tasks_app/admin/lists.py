"""What the admin's lists have in common: filters that never let through more than an address asks for, a count that
stays quick, permissions, the page of a row, and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, ActionForm
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from tasks_app.admin.pages import page
from tasks_app.admin.search import fault
from tasks_app.admin.text import ago, line
from tasks_app.feature import registered
from tasks_app.handlers.words import moment_text
from tasks_app.queue.current import writing
from tasks_app.rights import Right, may

#: The choices of filters by time: the title and how far each looks back.
SPANS = {
    "quarter": ("past 15 minutes", timedelta(minutes=15)),
    "hour": ("past hour", timedelta(hours=1)),
    "day": ("past 24 hours", timedelta(days=1)),
    "week": ("past 7 days", timedelta(days=7)),
}


class StrictFilter(admin.SimpleListFilter):
    """One parameter of the list's address.

    A value that is not understood matches nothing, and `fault` says why. If it were ignored, an action on "all that
    match" would act on everything.
    """

    #: What is wrong with the value, in one sentence, or ""
    fault = ""
    #: The column that has the value; "": the parameter's name.
    column = ""
    #: Its values, each with a title, unless `lookups` asks for them.
    known_values: Iterable[tuple[str, str]] = ()
    #: Any text of at most so many characters is understood: the values may be incomplete. 0: none but these.
    max_chars = 0

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type[Any], model_admin: Any) -> None:
        given = params.get(str(self.parameter_name), [])
        super().__init__(request, params, model, model_admin)
        if len(given) > 1:
            self.fault = f"The filter “{self.title}” is given {len(given)} times."
        elif given and not self.understands(given[0]):
            words = ", ".join(line(str(word), 40) for word, _ in self.lookup_choices[:20])
            self.fault = f"“{line(given[0], 60)}” is no value of the filter “{self.title}”, which knows: {words}."

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return self.known_values

    def has_output(self) -> bool:
        # Django drops a filter without choices, even if the address sets it.
        return True

    def understands(self, value: str) -> bool:
        """Whether a value can match a row."""
        return 0 < len(value) <= self.max_chars or value in {str(key) for key, _ in self.lookup_choices}

    @property
    def description(self) -> str:
        """What it filters for, as part of a sentence; "" if it is not set."""
        value = self.value()
        if value is None:
            return ""
        titles = {str(key): str(title) for key, title in self.lookup_choices}
        return f"{self.title}: {titles.get(value, line(value, 60))}"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.fault:
            return queryset.none()
        value = self.value()
        return queryset if value is None else self.narrow(queryset, value)

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows that match a value."""
        return rows.filter(**{self.column or str(self.parameter_name): value})


class SpanFilter(StrictFilter):
    """By a moment: not longer ago than a span."""

    spans = SPANS

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, title) for key, (title, _) in self.spans.items()]

    def since(self, value: str) -> datetime:
        """The earliest moment that a value lets through."""
        return timezone.now() - self.spans[value][1]


#: Counting stops here: a count of all rows would be paid with every page.
MAX_COUNTED_ROWS = 10_000


class CappedPaginator(Paginator):
    """Counts no further than MAX_COUNTED_ROWS; the page then says "or more"."""

    @cached_property
    def first_rows(self) -> list[Any]:
        """Those of the first page, and one more if there is one."""
        return list(self.object_list[: self.per_page + 1])

    @cached_property
    def count(self) -> int:
        """The number of rows, at most MAX_COUNTED_ROWS. Few rows among many are looked for once."""
        if len(self.first_rows) <= self.per_page:
            return len(self.first_rows)
        rows = self.object_list
        # In their order, which keeps planners from other indexes.
        return rows[:MAX_COUNTED_ROWS].count() if isinstance(rows, QuerySet) else len(rows)


class KnownFilters(ChangeList):
    """Filters by what the list itself offers, its filters and its hierarchy of dates, and by nothing else: a lookup on
    another field would tell, row by row, what the list does not show."""

    def get_filters(self, request: HttpRequest) -> Any:
        try:
            given = super().get_filters(request)
        except IncorrectLookupParameters:
            raise DisallowedModelAdminLookup("Filtering by what is no field not allowed") from None
        hierarchy = {f"{self.date_hierarchy}__gte", f"{self.date_hierarchy}__lt"} if self.date_hierarchy else set()
        for lookup in given[2]:  # what no filter has taken
            if lookup not in hierarchy:
                raise DisallowedModelAdminLookup(f"Filtering by {lookup} not allowed")
        return given


def all_that_match(select_across: str | None) -> bool:
    """Whether an action is for all rows that match rather than for the selected ones, as Django reads its form."""
    return bool(ActionForm.base_fields["select_across"].clean(select_across))


class KnownRows(admin.ModelAdmin):
    """Acts on rows that can exist: 400 for a selected id that cannot be one. Its list is a KnownFilters."""

    changelist: type[ChangeList] = KnownFilters

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return self.changelist

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *more: object) -> HttpResponse | None:
        if not all_that_match(request.POST.get("select_across")):
            for given in request.POST.getlist(ACTION_CHECKBOX_NAME):
                try:
                    self.opts.pk.run_validators(self.opts.pk.to_python(given))
                except ValidationError:
                    raise BadRequest(f"{line(given, 60)!r} is no id of a row of this list") from None
        return super().response_action(request, queryset, *more)  # type: ignore[arg-type]


class DeletedRows(KnownRows):
    """Rows that Django's own pages delete: with the lines of the audit log, in one transaction."""

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *more: object) -> HttpResponse | None:
        with writing():
            return super().response_action(request, queryset, *more)


class StrictList(KnownFilters):
    """Never shows more than its address asks for, because an action on "all that match" acts on what it shows.

    `faults`: what is not understood in the address, in sentences. If there is one, nothing matches.
    """

    faults: Sequence[str] = ()

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found = super().get_queryset(request, exclude_parameters)
        faults = [self.search_fault(request), *(getattr(spec, "fault", "") for spec in self.filter_specs)]
        self.faults = [each for each in faults if each]
        return found.none() if self.faults else found

    def search_fault(self, request: HttpRequest) -> str:
        """Why the search is refused, in a sentence; "" if it is not."""
        return fault(request.GET.getlist(SEARCH_VAR))

    def get_results(self, request: HttpRequest) -> None:
        try:
            super().get_results(request)
        except IncorrectLookupParameters:  # from a missing page Django would redirect to a list without filters
            pages = self.model_admin.get_paginator(request, self.queryset, self.list_per_page).num_pages
            self.page_num = min(max(self.page_num, 1), pages)
            super().get_results(request)
        self.page_num = min(max(self.page_num, 1), self.paginator.num_pages)
        shows_all = self.show_all and self.multi_page and self.can_show_all
        if isinstance(self.paginator, CappedPaginator) and self.page_num == 1 and not shows_all:
            self.result_list = self.paginator.first_rows[: self.list_per_page]

    @property
    def or_more(self) -> bool:
        """Whether there may be more rows than a CappedPaginator counts."""
        return bool(self.result_count >= MAX_COUNTED_ROWS)

    @property
    def counted(self) -> str:
        """How many rows match: `12`, `10,000 or more`."""
        return f"{self.result_count:,}{' or more' if self.or_more else ''}"

    @property
    def filtered(self) -> list[str]:
        """The filters that are set, each as part of a sentence."""
        return [text for spec in self.filter_specs if (text := getattr(spec, "description", ""))]

    @property
    def narrowed(self) -> list[str]:
        """The filters that are set, and the search, each as part of a sentence."""
        return [*self.filtered, *([f"search: {line(self.query, 200)}"] if self.query.strip() else [])]

    @property
    def why_empty(self) -> list[str]:
        """Why the list is empty, in sentences."""
        if self.faults:
            return [*self.faults, "Therefore nothing matches."]
        if self.narrowed:
            return [f"No {self.opts.verbose_name} matches: {', '.join(self.narrowed)}."]
        return [f"There are no {self.opts.verbose_name_plural}."]


class RowAdmin(KnownRows):
    """Rows that no page adds, in a `changelist` with the model's name as its title.

    `seen_by`: whoever has all of these rights sees them; without one, whoever has Django's permission.
    """

    changelist: type[ChangeList] = StrictList
    seen_by: tuple[Right, ...] = ()
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER  # each would count all rows
    sortable_by: ClassVar[tuple[str, ...]] = ()

    class Media:
        css = {"all": ("taskdaemon/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not self.seen_by:
            return super().has_view_permission(request, obj)
        return all(may(request, right) for right in self.seen_by)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        # PostgreSQL refuses a text with a NUL, by another error than those that Django expects of an id.
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The acts on a row, also on one that is gone; without a page of acts, Django's own history."""
        if not (acts_pages := registered("acts_page")):
            return super().history_view(request, object_id, extra_context)
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        target = unquote(object_id) if row is None else self.audit_target(row)
        return HttpResponseRedirect(acts_pages[0](target))

    def audit_target(self, row: Any) -> str:
        """What the audit log calls a row."""
        return str(row.pk)

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        """A page with the style of the lists."""
        return page(request, template, title, media=self.media, **context)

    def back(
        self, request: HttpRequest, said: str, to: str = "", level: int = messages.WARNING
    ) -> HttpResponseRedirect:
        """To an address, or else to the list, with a message."""
        self.message_user(request, said, level)
        return HttpResponseRedirect(to or reverse(f"admin:tasks_app_{self.opts.model_name}_changelist"))


class ReadOnlyAdmin(RowAdmin):
    """Rows that no form changes or deletes: what may be done to them has a view of its own."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PageAdmin(ReadOnlyAdmin):
    """Rows each of which has a page of its own. `gone`: what the list says if there is no row `{id}`."""

    gone: str

    def show(self, request: HttpRequest, row: Any) -> HttpResponse:
        """The page of a row."""
        raise NotImplementedError

    def seen(self, request: HttpRequest, object_id: str) -> Any:
        """The row of an address; None if there is none. Raises PermissionDenied."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.get_object(request, unquote(object_id))

    def missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Back to the list, as there is no such row."""
        return self.back(request, self.gone.format(id=line(unquote(object_id), 60)))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        row = self.seen(request, object_id)
        return self.missing(request, object_id) if row is None else self.show(request, row)


# Columns, and what their cells show.


def column(head: str, cell: Callable[[Any], Any], ordering: str | None = None) -> Callable[[Any, Any], Any]:
    """A column of a list: its head, and what it shows of a row."""

    @admin.display(description=head, ordering=ordering)
    def shown(_: Any, row: Any) -> Any:
        return cell(row)

    return shown


def badge(tone: Any, text: str) -> SafeString:
    """A coloured label. `tone` selects a class of admin.css: a status, or `plain`."""
    return format_html('<span class="td-badge td-{}">{}</span>', tone, text)


def moment(at: datetime) -> SafeString:
    """How long ago it was; the time itself appears under the pointer."""
    return format_html('<span title="{}">{}</span>', moment_text(at), ago(at, timezone.now()))
