"""A list of a million rows without reading a million rows."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest
from django.utils.functional import cached_property

#: Rows that are counted; nobody pages further, and the count of all would be paid at every look.
CAP = 10_000


class CappedPaginator(Paginator):
    """Counts no further than CAP, which then reads "or more"."""

    @cached_property
    def count(self) -> int:
        """Rows, or CAP where there are more."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:CAP].count()


class NewestFirst(ChangeList):
    """The primary key is a UUIDv7: its index is the order in which tasks came. No other order, whatever the address
    asks for: there is no index for it."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["-pk"]

    @property
    def or_more(self) -> bool:
        """Whether counting was given up."""
        return bool(self.result_count >= CAP)
