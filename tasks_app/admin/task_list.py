"""The list of tasks: its filters, what it shows, and the acts on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, cast

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin.lists import (
    CappedPaginator,
    PageAdmin,
    SpanFilter,
    StrictFilter,
    StrictList,
    badge,
    column,
    moment,
)
from tasks_app.admin.search import (
    HELP,
    HELP_WITHOUT_ERRORS,
    as_tag,
    failed,
    frozen,
    known_types,
    search,
    searched,
    searches_errors,
    wanted,
)  # fmt: skip
from tasks_app.admin.text import ago, line
from tasks_app.db.lookups import first_id
from tasks_app.feature import registered
from tasks_app.handlers.words import span
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.models import FailureReason, Status, Task
from tasks_app.queue.task_filter import FIRST_ID, TaskFilter
from tasks_app.rights import SEE_PAYLOADS, SEE_TASKS, TASK_PAYLOAD, Right, may

ONLY_FAILED = frozenset({str(Status.FAILED)})
MAX_TYPE_CHARS = 100
#: Of more ready tasks, or tasks that wait, no index is read to list them.
MAX_PENDING_READ = 50_000


def is_type(value: str) -> bool:
    """Whether a task can have this type."""
    return 0 < len(value) <= MAX_TYPE_CHARS and "\0" not in value


class TaskListFilter(StrictFilter):
    """A filter of tasks, which can be stored. It uses an index, or reads rows in the order of one.

    `only_failed`: only failed tasks pass it, whatever its value.
    """

    only_failed = False

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
        if value != Status.FAILED and only_failed(self.request.GET):
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
    only_failed = True

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


class CreatedFilter(SpanFilter, TaskListFilter):
    """By time of creation, which the id contains."""

    title, parameter_name = "created", "created"

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return tasks.filter(pk__gte=first_id(self.since(value)))

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(first_id=first_id(self.since(value)))


class FailedFilter(SpanFilter, TaskListFilter):
    """By time of failure."""

    title, parameter_name = "time of failure", "failed"
    only_failed = True

    def narrow(self, tasks: QuerySet[Task], value: str) -> QuerySet[Task]:
        return failed(tasks).filter(completed_at__gte=self.since(value))

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=ONLY_FAILED, ended_after=self.since(value))


def filters() -> tuple[type[TaskListFilter], ...]:
    """Those of the list, with those of features."""
    return (StatusFilter, ReasonFilter, TypeFilter, CreatedFilter, FailedFilter, *chain(*registered("task_filters")))


def only_failed(parameters: Mapping[str, str]) -> bool:
    """Whether the filters of a list with these parameters let only failed tasks through."""
    if parameters.get(str(StatusFilter.parameter_name)) == Status.FAILED:
        return True
    return any(kind.only_failed and kind.parameter_name in parameters for kind in filters())


class NewestFirst(StrictList):
    """Orders by the primary key, a UUIDv7, and ignores the address: no other order has an index."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["-pk"]

    def search_fault(self, request: HttpRequest) -> str:
        found = super().search_fault(request)
        if may(request, SEE_PAYLOADS):
            return found
        self.search_help_text = HELP_WITHOUT_ERRORS
        if not found and searches_errors(self.query):
            return "To search in errors, a user needs the permission to see payloads: ask an administrator for it."
        return found

    @property
    def frozen(self) -> TaskFilter:
        """What it shows, as a filter that means the same tasks later. Only without `faults`."""
        found = frozen(self.query, only_failed(self.params)) if self.query.strip() else TaskFilter()
        for spec in self.filter_specs:
            if isinstance(passed := getattr(spec, "frozen", None), TaskFilter):
                found = found.both(passed)
        return found

    @property
    def wanted(self) -> str:
        """What was searched for, in a sentence; "" if nothing was."""
        return "" if self.faults else wanted(self.query)

    @property
    def as_tag(self) -> str:
        """What to search for instead, if the one word that was searched for may be a tag; "" if not."""
        return as_tag(self.query)

    @property
    def searched(self) -> str:
        """Which tasks the search looked at, in a sentence; "" if at all of them."""
        return searched(self.query, only_failed(self.params))


class TaskList(PageAdmin):
    """Its columns, and the acts of features on the selected tasks, or on all that match."""

    seen_by = (SEE_TASKS,)
    list_display = (
        "id_column", "type_column", "status_column", "priority", "attempts", "age", "duration", "error_column",
    )  # fmt: skip
    list_max_show_all = 1_000
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count all rows
    changelist = NewestFirst
    paginator = CappedPaginator
    ordering = ("-pk",)
    search_fields = ("last_error",)  # shows the search box; `search` defines what it finds
    search_help_text = HELP
    actions_on_bottom = True

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_display if may(request, SEE_PAYLOADS) else self.list_display[:-1]

    def get_list_filter(self, request: HttpRequest) -> Any:
        return filters()

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        # Only the filters' parameters: any other lookup could probe payloads.
        return lookup in {kind.parameter_name for kind in filters()}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        tasks: QuerySet[Task] = super().get_queryset(request)
        return tasks.defer(*(TASK_PAYLOAD if not may(request, SEE_PAYLOADS) else ("task_data", "metadata", "result")))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        if searches_errors(search_term) and not may(request, SEE_PAYLOADS):
            return queryset.none(), False
        return search(queryset, search_term, only_failed(request.GET)), False

    @admin.display(description="id")
    def id_column(self, task: Task) -> SafeString:
        """The full id, on two lines; `<wbr>` keeps it one word when it is copied."""
        shown = str(task.pk)
        return format_html('<span class="td-id">{}<wbr>{}</span>', shown[:19], shown[19:])

    type_column = column("type", lambda task: line(task.task_type, 40))

    @admin.display(description="status")
    def status_column(self, task: Task) -> SafeString:
        """A coloured badge, with the reason of a failure."""
        shown = badge(task.status, task.status)
        if task.failure_reason is None:
            return shown
        return format_html('{}<div class="td-reason">{}</div>', shown, task.failure_reason.replace("_", " "))

    age = column("age", lambda task: moment(task.created_at))

    @admin.display(description="duration")
    def duration(self, task: Task) -> str:
        """From the last attempt's start to its end; for an unfinished task, what it waits for."""
        now = timezone.now()
        if task.status == Status.PENDING:
            if task.due_at:
                return f"{'retry' if task.attempts else 'scheduled'} {ago(task.due_at, now)}"
            return f"waits {span(now - task.ready_at)}"
        if task.started_at is None:
            return "never started"
        took = span((task.completed_at or now) - task.started_at)
        return f"runs {took}" if task.status == Status.PROCESSING else took

    error_column = column(
        "last error", lambda task: format_html('<span class="td-error">{}</span>', line(task.last_error, 140))
    )

    # Acts.

    def get_actions(self, request: HttpRequest) -> Any:
        # Not Django's own: it deletes rows without `queue`.
        return {
            act.name: (partial(_ask, act), act.name, act.description)
            for act in chain(*registered("task_actions"))
            if may(request, act.right)
        }

    def response_action(self, request: HttpRequest, queryset: QuerySet[Task], *more: object) -> HttpResponse | None:
        try:
            return super().response_action(request, queryset, *more)  # type: ignore[arg-type]
        except ValidationError:
            self.message_user(request, "The selection contains something that is no task's id.", messages.ERROR)
            return None


@dataclass(frozen=True)
class TaskAction:
    """An act on tasks of the list. `address`: of the page that asks before, from the request, which tasks, the address
    to go back to, and how the tasks were chosen, in a sentence. `of_failures`: what a button says on a page about tasks
    that failed alike; blank: there is none."""

    name: str
    description: str
    right: Right
    address: Callable[[HttpRequest, TaskFilter, str, str], str]
    of_failures: str = ""


def _ask(act: TaskAction, tasks: TaskList, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
    shown = cast(NewestFirst, tasks.get_changelist_instance(request))
    newest = Task.objects.order_by("-pk").values_list("pk", flat=True).first() or FIRST_ID
    one_by_one = request.POST.get("select_across", "0") in ("", "0")
    if shown.faults:
        wanted = TaskFilter(ids=frozenset())
    elif one_by_one:
        wanted = TaskFilter(ids=frozenset(queryset.values_list("pk", flat=True)))
    else:
        # Tasks that are stored while the page is read do not match.
        wanted = shown.frozen.both(TaskFilter(last_id=newest))
    if wanted.ids is not None and not wanted.ids:
        tasks.message_user(request, "No task matches any more: nothing was done.", messages.WARNING)
        return None
    how = "They are all tasks: no filter was set."
    if one_by_one:
        how = "You selected them one by one."
    elif shown.narrowed:
        how = f"They are all that match: {', '.join(shown.narrowed)}."
    return HttpResponseRedirect(act.address(request, wanted, request.get_full_path(), how))
