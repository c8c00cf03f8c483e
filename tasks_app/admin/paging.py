"""Lists that stay quick with millions of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest
from django.utils.functional import cached_property

from tasks_app.admin.rights import sees_payloads
from tasks_app.admin.search import HELP_WITHOUT_ERRORS, fault, frozen, searched, searches_errors
from tasks_app.admin.text import line
from tasks_app.models import TaskFilter

#: Counting stops here: a count of all rows would be paid with every page.
MAX_COUNTED_ROWS = 10_000


class CappedPaginator(Paginator):
    """Counts no further than MAX_COUNTED_ROWS; the page then says "or more"."""

    @cached_property
    def count(self) -> int:
        """The number of rows, at most MAX_COUNTED_ROWS."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:MAX_COUNTED_ROWS].count()


class StrictList(ChangeList):
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
        # Django would redirect from a missing page to a list without filters.
        pages = self.model_admin.get_paginator(request, self.queryset, self.list_per_page).num_pages
        self.page_num = min(max(self.page_num, 1), pages)
        super().get_results(request)

    @property
    def or_more(self) -> bool:
        """Whether there may be more rows than a CappedPaginator counts."""
        return bool(self.result_count >= MAX_COUNTED_ROWS)

    @property
    def narrowed(self) -> list[str]:
        """The filters that are set, each as part of a sentence."""
        found = [text for spec in self.filter_specs if (text := getattr(spec, "description", ""))]
        return [*found, f"search: {line(self.query, 200)}"] if self.query.strip() else found

    @property
    def why_empty(self) -> list[str]:
        """Why the list is empty, in sentences."""
        if self.faults:
            return [*self.faults, "Therefore nothing matches."]
        many = self.opts.verbose_name_plural
        if self.narrowed:
            return [f"No {self.opts.verbose_name} matches: {', '.join(self.narrowed)}."]
        return [f"There are no {many}."]


class NewestFirst(StrictList):
    """Orders by the primary key, a UUIDv7, and ignores the address: no other order has an index."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["-pk"]

    def search_fault(self, request: HttpRequest) -> str:
        found = super().search_fault(request)
        if sees_payloads(request):
            return found
        self.search_help_text = HELP_WITHOUT_ERRORS
        if not found and searches_errors(self.query):
            return "To search in errors, a user needs the permission to see payloads: ask an administrator for it."
        return found

    @property
    def frozen(self) -> TaskFilter:
        """What it shows, as a filter that means the same tasks later. Only without `faults`."""
        found = frozen(self.query, self.params) if self.query.strip() else TaskFilter()
        for spec in self.filter_specs:
            if isinstance(each := getattr(spec, "frozen", None), TaskFilter):
                found = found.both(each)
        return found

    @property
    def searched(self) -> str:
        """Which tasks the search looked at, in a sentence; "" if at all of them."""
        return searched(self.query, self.params)
