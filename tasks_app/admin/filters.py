"""What the list of tasks can be narrowed to; each has an index, or reads rows in the order of one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from tasks_app import conf
from tasks_app.admin.search import failed
from tasks_app.admin.text import line
from tasks_app.metrics.figures import figures
from tasks_app.models import FailureReason, Status, Task

SPANS = {
    "hour": ("past hour", timedelta(hours=1)),
    "day": ("past 24 hours", timedelta(days=1)),
    "week": ("past 7 days", timedelta(days=7)),
}


def first_id(moment: datetime) -> UUID:
    """No task that came at or after a moment has a smaller id."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def known_types() -> list[str]:
    """The handlers of handlers.toml, and every type that was ever received."""
    names = set(conf.handlers())
    try:
        names.update(figures().handlers)
    except DatabaseError:  # the list itself will say it
        pass
    return sorted(names)


class _Filter(admin.SimpleListFilter):
    def chosen(self) -> str | None:
        """What the address asks for, if it is on offer; anything else filters nothing."""
        value = self.value()
        return value if value in {str(key) for key, _ in self.lookup_choices} else None


class StatusFilter(_Filter):
    """By status, over the partial indexes."""

    title, parameter_name = "status", "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(str(status), str(status)) for status in Status]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        match self.chosen():
            case None:
                return queryset
            case "failed":
                return failed(queryset)
            case "processing":
                return queryset.filter(pk__in=Task.objects.running().values("pk"))
            case "pending":
                waiting = Task.objects.waiting().values("pk")
                return queryset.filter(pk__in=Task.objects.ready().values("pk").union(waiting, all=True))
            case other:
                return queryset.filter(status=other)


class ReasonFilter(_Filter):
    """By the reason of a failure."""

    title, parameter_name = "failure reason", "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(str(reason), reason.value.replace("_", " ")) for reason in FailureReason]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        reason = self.chosen()
        return failed(queryset).filter(failure_reason=reason) if reason else queryset


class TypeFilter(_Filter):
    """By type: those of handlers.toml, and those that are only in the database any more."""

    title, parameter_name = "type", "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, line(name, 40)) for name in known_types()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        name = self.chosen()
        return queryset.filter(task_type=name) if name else queryset


class CreatedFilter(_Filter):
    """By the time in the id."""

    title, parameter_name = "created", "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, title) for key, (title, _) in SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        key = self.chosen()
        return queryset.filter(pk__gte=first_id(timezone.now() - SPANS[key][1])) if key else queryset


class FailedFilter(_Filter):
    """By the time of the failure, whenever the task came."""

    title, parameter_name = "time of failure", "failed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, title) for key, (title, _) in SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        key = self.chosen()
        return failed(queryset).filter(completed_at__gte=timezone.now() - SPANS[key][1]) if key else queryset
