"""The filters of the audit log. Each has an index that ends with the time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from tasks_app.admin.filters import SPANS, TaskFilter
from tasks_app.admin.text import line
from tasks_app.models import ApiKey, AuditEntry

MAX_CHOICES = 30
MAX_VALUE_CHARS = 150
WAYS = {"admin": "the admin", "api": "the API", "command": "a command"}


class EntryFilter(TaskFilter):
    """One parameter of the log's address. Text matches as it is; the choices may be incomplete."""

    def understands(self, value: str) -> bool:
        return 0 < len(value) <= MAX_VALUE_CHARS and "\0" not in value


class ActorFilter(EntryFilter):
    """By user, API key or system account."""

    title, parameter_name = "who", "actor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        users = get_user_model().objects.filter(is_staff=True).order_by("username").values_list("username", flat=True)
        keys = ApiKey.objects.order_by("name").values_list("name", flat=True)
        return [(name, line(name, 40)) for name in dict.fromkeys([*users[:MAX_CHOICES], *keys[:MAX_CHOICES]])]

    def narrow(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        return tasks.filter(actor=value)


class ViaFilter(TaskFilter):
    """By the way: admin, API, command."""

    title, parameter_name = "way", "via"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return WAYS.items()

    def narrow(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        return tasks.filter(via=value)


class ActFilter(EntryFilter):
    """By what was done."""

    title, parameter_name = "act", "act"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, name.replace("_", " ")) for name in _known_acts()]

    def narrow(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        return tasks.filter(action=value)


class TimeFilter(TaskFilter):
    """By time."""

    title, parameter_name = "time", "time"
    spans = {**SPANS, "month": ("past 30 days", timedelta(days=30))}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, title) for key, (title, _) in self.spans.items()]

    def narrow(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        return tasks.filter(at__gte=timezone.now() - self.spans[value][1])


def _known_acts() -> list[str]:
    """The acts that the log has, each found by one step in the index, however many lines there are."""
    found: list[str] = []
    acts = AuditEntry.objects.order_by("action").values_list("action", flat=True)
    while len(found) < MAX_CHOICES and (name := acts.filter(action__gt=found[-1] if found else "").first()) is not None:
        found.append(name)
    return found
