"""The filters of the list of tasks. Each uses an index, or reads rows in the order of one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from tasks_app import models
from tasks_app.admin.known_types import known_types
from tasks_app.admin.rights import sees_payloads
from tasks_app.admin.search import failed
from tasks_app.admin.text import line
from tasks_app.db.first_id import first_id
from tasks_app.models import FailureGroup, FailureReason, Status, Task, TaskQuerySet

ONLY_FAILED = frozenset({str(Status.FAILED)})
MAX_TYPE_CHARS = 100

SPANS = {
    "hour": ("past hour", timedelta(hours=1)),
    "day": ("past 24 hours", timedelta(days=1)),
    "week": ("past 7 days", timedelta(days=7)),
}


class TaskFilter(admin.SimpleListFilter):
    """One parameter of the list's address.

    A value that is not understood matches no task, and `fault` says why. If it were ignored, an action on "all that
    match" would act on every task.
    """

    #: What is wrong with the value, in one sentence, or ""
    fault = ""

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type[Task], model_admin: Any) -> None:
        given = params.get(str(self.parameter_name), [])
        super().__init__(request, params, model, model_admin)
        if len(given) > 1:
            self.fault = f"The filter “{self.title}” is given {len(given)} times."
        elif given and not self.understands(given[0]):
            words = ", ".join(line(str(word), 40) for word, _ in self.lookup_choices[:20])
            self.fault = f"“{line(given[0], 60)}” is no value of the filter “{self.title}”, which knows: {words}."

    def has_output(self) -> bool:
        # Django drops a filter without choices, even if the address sets it.
        return True

    def understands(self, value: str) -> bool:
        """Whether a value is one of the choices."""
        return value in {str(key) for key, _ in self.lookup_choices}

    @property
    def description(self) -> str:
        """What it filters for, as part of a sentence; "" if it is not set."""
        value = self.value()
        if value is None:
            return ""
        titles = {str(key): str(title) for key, title in self.lookup_choices}
        return f"{self.title}: {titles.get(value, line(value, 60))}"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        if self.fault:
            return queryset.none()
        value = self.value()
        return queryset if value is None else self.narrow(queryset, value)

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        """The tasks that match a value."""
        raise NotImplementedError

    def condition(self, value: str) -> models.TaskFilter:
        """The same as a filter that means the same tasks later."""
        raise NotImplementedError

    @property
    def frozen(self) -> models.TaskFilter:
        """What it filters for now, as a filter that means the same tasks later."""
        value = self.value()
        return models.TaskFilter() if value is None else self.condition(value)


class StatusFilter(TaskFilter):
    """By status, by the partial indexes."""

    title, parameter_name = "status", "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(str(status), str(status)) for status in Status]

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        match value:
            case "failed":
                return failed(tasks)
            case "processing":
                return tasks.filter(pk__in=Task.objects.running().values("pk"))
            case "pending":
                waiting = Task.objects.waiting().values("pk")
                return tasks.filter(pk__in=Task.objects.ready().values("pk").union(waiting, all=True))
            case other:
                return tasks.filter(status=other)

    def condition(self, value: str) -> models.TaskFilter:
        return models.TaskFilter(statuses=frozenset({value}))


class ReasonFilter(TaskFilter):
    """By the reason of a failure."""

    title, parameter_name = "failure reason", "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(str(reason), reason.value.replace("_", " ")) for reason in FailureReason]

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return failed(tasks).filter(failure_reason=value)

    def condition(self, value: str) -> models.TaskFilter:
        return models.TaskFilter(statuses=ONLY_FAILED, reasons=frozenset({value}))


class TypeFilter(TaskFilter):
    """By type, whether or not it is one of the choices."""

    title, parameter_name = "type", "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, line(name, 40)) for name in known_types()]

    def understands(self, value: str) -> bool:
        # Any valid type: the choices may be incomplete.
        return 0 < len(value) <= MAX_TYPE_CHARS and "\0" not in value

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return tasks.filter(task_type=value)

    def condition(self, value: str) -> models.TaskFilter:
        return models.TaskFilter(types=frozenset({value}))


class CreatedFilter(TaskFilter):
    """By time of creation, which the id contains."""

    title, parameter_name = "created", "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, title) for key, (title, _) in SPANS.items()]

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return tasks.filter(pk__gte=first_id(timezone.now() - SPANS[value][1]))

    def condition(self, value: str) -> models.TaskFilter:
        return models.TaskFilter(first_id=first_id(timezone.now() - SPANS[value][1]))


class GroupFilter(TaskFilter):
    """By failure group; shown only while it is set, by a link."""

    title, parameter_name = "failure group", "group"

    def has_output(self) -> bool:
        return self.parameter_name in self.used_parameters

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        given = request.GET.get(str(self.parameter_name), "")
        if not self.understands(given):
            return []
        group = FailureGroup.objects.filter(pk=int(given)).first()
        shown = line(group.normalised, 60) if group and sees_payloads(request) else given
        return [(given, shown)]

    def understands(self, value: str) -> bool:
        return value.isascii() and value.isdigit() and len(value) < 20 and int(value) < 2**63

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return cast(TaskQuerySet, tasks).in_group(int(value))

    def condition(self, value: str) -> models.TaskFilter:
        return models.TaskFilter(statuses=ONLY_FAILED, group=int(value))


class FailedFilter(TaskFilter):
    """By time of failure."""

    title, parameter_name = "time of failure", "failed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, title) for key, (title, _) in SPANS.items()]

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return failed(tasks).filter(completed_at__gte=timezone.now() - SPANS[value][1])

    def condition(self, value: str) -> models.TaskFilter:
        return models.TaskFilter(statuses=ONLY_FAILED, ended_after=timezone.now() - SPANS[value][1])
