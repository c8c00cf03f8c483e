"""The filters of the list of failure groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.db.models import QuerySet
from django.http import HttpRequest

from tasks_app.admin.strict_filter import StrictFilter
from tasks_app.admin.task_filters import ReasonFilter, TypeFilter
from tasks_app.models import FailureGroup
from tasks_app.models.failure_group import FailureGroupQuerySet


class OpenFilter(StrictFilter):
    """Open groups, or resolved ones."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("open", "open"), ("resolved", "resolved")]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        groups = cast(FailureGroupQuerySet, rows)
        return groups.open() if value == "open" else groups.resolved()


class GroupHandlerFilter(TypeFilter):
    """Groups of a handler."""

    title, parameter_name = "handler", "handler"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        named = FailureGroup.objects.order_by("handler").values_list("handler", flat=True).distinct()
        known = dict(super().lookups(request, model_admin))
        return [(name, known[name]) for name in named if name in known]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(handler=value)


class GroupReasonFilter(ReasonFilter):
    """Groups of a failure reason."""

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(reason=value)
