"""The filters of the list of tasks. Each uses an index, or reads rows in the order of one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from tasks_app.admin.known_types import known_types
from tasks_app.admin.lists import SPANS, StrictFilter
from tasks_app.admin.rights import sees_payloads
from tasks_app.admin.search import failed
from tasks_app.admin.text import line
from tasks_app.db.lookups import first_id
from tasks_app.features.failures.models import FailureGroup, is_fingerprint
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.models import FailureReason, Status, Task, TaskQuerySet
from tasks_app.queue.task_filter import TaskFilter

ONLY_FAILED = frozenset({str(Status.FAILED)})
MAX_TYPE_CHARS = 100
#: Of more ready tasks, or tasks that wait, no index is read to list them.
MAX_PENDING_READ = 50_000
#: The filters that only failed tasks pass.
OF_FAILURES = {"reason", "failed", "group"}


def is_type(value: str) -> bool:
    """Whether a task can have this type."""
    return 0 < len(value) <= MAX_TYPE_CHARS and "\0" not in value


class TaskListFilter(StrictFilter):
    """A filter of tasks, which an operation can store."""

    def condition(self, value: str) -> TaskFilter:
        """The same as a filter that means the same tasks later."""
        raise NotImplementedError

    @property
    def frozen(self) -> TaskFilter:
        """What it filters for now, as a filter that means the same tasks later."""
        value = self.value()
        return TaskFilter() if value is None else self.condition(value)


class StatusFilter(TaskListFilter):
    """By status, by the partial indexes."""

    title, parameter_name = "status", "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(str(status), str(status)) for status in Status]

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        if value != Status.FAILED and OF_FAILURES & self.request.GET.keys():
            return tasks.none()  # without statistics, PostgreSQL would join all failed tasks with all of this status
        match value:
            case "failed":
                return failed(tasks)
            case "processing":
                return tasks.filter(pk__in=list(running_tasks().values_list("pk", flat=True)))
            case "pending":
                return self._pending(tasks)
            case other:
                return tasks.filter(status=other)

    def _pending(self, tasks: QuerySet[Task]) -> QuerySet[Task]:
        """By the indexes of pending tasks: these have another order than the list, so that every entry is read.

        Of very many, the list and its count meet enough soon without an index.
        """
        ready, waiting = Task.objects.ready(), Task.objects.waiting()
        name = self.request.GET.get(str(TypeFilter.parameter_name), "")
        if is_type(name):
            ready, waiting = ready.filter(task_type=name), waiting.filter(task_type=name)
        for rows, order in ((ready, ("task_type", "position")), (waiting, ("clock", "due"))):
            if rows.order_by(*order).values_list(order[1])[MAX_PENDING_READ : MAX_PENDING_READ + 1]:
                return tasks.filter(status=Status.PENDING)
        return tasks.filter(pk__in=ready.values("pk").union(waiting.values("pk"), all=True))

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=frozenset({value}))


class ReasonFilter(TaskListFilter):
    """By the reason of a failure."""

    title, parameter_name = "failure reason", "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(str(reason), reason.value.replace("_", " ")) for reason in FailureReason]

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return failed(tasks).filter(failure_reason=value)

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=ONLY_FAILED, reasons=frozenset({value}))


class TypeFilter(TaskListFilter):
    """By type, whether or not it is one of the choices."""

    title, parameter_name = "type", "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, line(name, 40)) for name in known_types()]

    def understands(self, value: str) -> bool:
        # Any valid type: the choices may be incomplete.
        return is_type(value)

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return tasks.filter(task_type=value)

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(types=frozenset({value}))


class CreatedFilter(TaskListFilter):
    """By time of creation, which the id contains."""

    title, parameter_name = "created", "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, title) for key, (title, _) in SPANS.items()]

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return tasks.filter(pk__gte=first_id(timezone.now() - SPANS[value][1]))

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(first_id=first_id(timezone.now() - SPANS[value][1]))


class GroupFilter(TaskListFilter):
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
        return is_fingerprint(value)

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return cast(TaskQuerySet, tasks).in_group(int(value))

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=ONLY_FAILED, group=int(value))


class FailedFilter(TaskListFilter):
    """By time of failure."""

    title, parameter_name = "time of failure", "failed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, title) for key, (title, _) in SPANS.items()]

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return failed(tasks).filter(completed_at__gte=timezone.now() - SPANS[value][1])

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=ONLY_FAILED, ended_after=timezone.now() - SPANS[value][1])
