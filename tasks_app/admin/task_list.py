"""The list of tasks: its filters, what it shows, and the acts on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ALL_VAR
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin import search
from tasks_app.admin.lists import (
    CappedPaginator,
    PageAdmin,
    SpanFilter,
    StrictFilter,
    StrictList,
    all_that_match,
    badge,
    column,
    moment,
)
from tasks_app.admin.text import ago, is_id, line
from tasks_app.db.lookups import created_at, first_id
from tasks_app.feature import registered
from tasks_app.handlers.words import moment_text, span
from tasks_app.options.known import stored
from tasks_app.queue import task_search
from tasks_app.queue.models import FailureReason, Status, Task
from tasks_app.queue.task_filter import ONLY_FAILED, TaskFilter
from tasks_app.queue.task_search import newest_id, newest_matching
from tasks_app.rights import SEE_PAYLOADS, SEE_TASKS, TASK_PAYLOAD, Right, may

#: Columns that no list reads.
LARGE = ("task_data", *(option.column for option in stored() if option.large), "result")


class TaskListFilter(StrictFilter):
    """A filter of tasks. It says what it means; `NewestFirst` finds the tasks."""

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows

    def condition(self, value: str) -> TaskFilter:
        """What a value means: the same tasks later."""
        raise NotImplementedError

    @property
    def frozen(self) -> TaskFilter:
        """What it filters for now, as a filter that means the same tasks later."""
        value = self.value()
        return TaskFilter() if value is None else self.condition(value)


class StatusFilter(TaskListFilter):
    """By status."""

    title, parameter_name = "status", "status"
    known_values = [(str(status), str(status)) for status in Status]

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=frozenset({value}))


class ReasonFilter(TaskListFilter):
    """By the reason of a failure."""

    title, parameter_name = "failure reason", "reason"
    known_values = [(str(reason), reason.value.replace("_", " ")) for reason in FailureReason]

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=ONLY_FAILED, reasons=frozenset({value}))


class TypeFilter(TaskListFilter):
    """By type, whether or not it is one of the choices."""

    title, parameter_name, max_chars = "type", "type", 100

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, line(name, 40)) for name in search.known_types()]

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(types=frozenset({value}))


class CreatedFilter(SpanFilter, TaskListFilter):
    """By time of creation, which the id contains."""

    title, parameter_name = "created", "created"

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(first_id=first_id(self.since(value)))


class FailedFilter(SpanFilter, TaskListFilter):
    """By time of failure."""

    title, parameter_name = "time of failure", "failed"

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=ONLY_FAILED, ended_after=self.since(value))


class OlderFilter(TaskListFilter):
    """Tasks before an id, up to which a list has looked already; shown only while it is set, by a link."""

    title, parameter_name = "older than", "older"

    def has_output(self) -> bool:
        return self.parameter_name in self.used_parameters

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        given = request.GET.get(self.parameter_name, "")
        return [(given, _moment(UUID(given)))] if self.understands(given) else []

    def understands(self, value: str) -> bool:
        return is_id(value)

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(last_id=UUID(int=max(UUID(value).int - 1, 0)))


def filters() -> tuple[type[TaskListFilter], ...]:
    """Those of the list, with those of features."""
    return (
        StatusFilter, ReasonFilter, TypeFilter, CreatedFilter, FailedFilter, *chain(*registered("task_filters")),
        OlderFilter,
    )  # fmt: skip


class FoundTasks:
    """Tasks whose ids are known, for Django's paginator and list: a page of them is read by its keys, and none is read
    to count them."""

    def __init__(self, ids: Sequence[UUID], tasks: QuerySet[Task]) -> None:
        self._ids, self._tasks = ids, tasks

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, wanted: slice) -> QuerySet[Task]:
        return self._tasks.filter(pk__among=self._ids[wanted])

    def _clone(self) -> QuerySet[Task]:
        return self[:]


class NewestFirst(StrictList):
    """Orders by the primary key, a UUIDv7, and ignores the address: no other order has an index.

    It looks at a bounded number of rows. `end`: the last id that it looked at; None: at all that can match.
    """

    end: UUID | None = None
    known: FoundTasks | None = None

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return ["-pk"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        if isinstance(queryset := getattr(self, "queryset", None), QuerySet):
            return queryset  # for an act on what was shown: to look once is enough
        nothing = super().get_queryset(request, exclude_parameters)
        if self.faults:
            return nothing
        found, deferred = newest_matching(self.frozen), self.root_queryset.query.deferred_loading[0]
        if isinstance(found, QuerySet):
            return found.defer(*deferred)
        self.end = found.end
        self.known = FoundTasks(found.ids, Task.objects.order_by("-pk").defer(*deferred))
        return self.known[:]

    def get_results(self, request: HttpRequest) -> None:
        rows = self.queryset
        if self.known is not None:
            self.queryset = cast(QuerySet[Any], self.known)
        try:
            super().get_results(request)
        finally:
            self.queryset = rows

    def search_fault(self, request: HttpRequest) -> str:
        found = super().search_fault(request)
        if may(request, SEE_PAYLOADS):
            return found
        self.search_help_text = search.HELP_WITHOUT_ERRORS
        if not found and search.Term.of(self.query).words:
            return "To search in errors, a user needs the permission to see payloads: ask an administrator for it."
        return found

    @cached_property
    def frozen(self) -> TaskFilter:
        """What its address asks for, as a filter that means the same tasks later. Only without `faults`."""
        found = TaskFilter()
        for spec in self.filter_specs:
            if isinstance(passed := getattr(spec, "frozen", None), TaskFilter):
                found = found.both(passed)
        return found.both(search.frozen(self.query, found.only_failed)) if self.query.strip() else found

    @property
    def looked_at(self) -> str:
        """Which rows it looked at, if not at all that can match: `the newest 10,000 failed tasks`."""
        if self.end is None:
            return ""
        kind = "failed tasks" if self.frozen.only_failed else "tasks"
        number = f"{task_search.MAX_ROWS_READ:,} {kind}"
        return f"{number} further back" if OlderFilter.parameter_name in self.params else f"the newest {number}"

    @property
    def or_more(self) -> bool:
        return self.end is None and super().or_more

    @property
    def further(self) -> str:
        """The address of the list that looks on where this one ended; "" if there is nothing further."""
        return "" if self.end is None else self.get_query_string({OlderFilter.parameter_name: self.end}, [ALL_VAR])

    @property
    def newest(self) -> str:
        """The address of the same list from the newest tasks on; "" if this is it."""
        older = OlderFilter.parameter_name
        return self.get_query_string(remove=[older]) if older in self.params else ""

    @property
    def wanted(self) -> str:
        """What was searched for, in a sentence; "" if nothing was."""
        return "" if self.faults else search.wanted(self.query)

    @property
    def as_tag(self) -> str:
        """What to search for instead, if the one word that was searched for may be a tag; "" if not."""
        return search.as_tag(self.query)

    @property
    def searched(self) -> str:
        """Which tasks it looked at, in a sentence; "" if at all that can match."""
        if self.end is not None:
            return f"Looked at {self.looked_at}, back to {_moment(self.end)}."
        return "" if self.faults else search.searched(self.query, self.frozen.only_failed)


def _moment(identity: UUID) -> str:
    """When a task was created; of an id that contains no time, the id."""
    at = created_at(identity)
    return str(identity) if at is None else moment_text(at)


class TaskList(PageAdmin):
    """Its columns, and the acts of features on the selected tasks, or on all that match."""

    seen_by = (SEE_TASKS,)
    list_display = (
        "id_column", "type_column", "status_column", "priority", "attempts", "age", "duration", "error_column",
    )  # fmt: skip
    list_max_show_all = 1_000
    show_full_result_count = False
    changelist = NewestFirst
    paginator = CappedPaginator
    ordering = ("-pk",)
    search_fields = ("last_error",)  # shows the search box; `search.frozen` defines what it finds
    search_help_text = search.HELP
    actions_on_bottom = True

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_display if may(request, SEE_PAYLOADS) else self.list_display[:-1]

    def get_list_filter(self, request: HttpRequest) -> Any:
        return filters()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        tasks: QuerySet[Task] = super().get_queryset(request)
        return tasks.defer(*(LARGE if may(request, SEE_PAYLOADS) else TASK_PAYLOAD))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        return queryset.none(), False  # `NewestFirst` searches; nothing else finds tasks by a text

    @admin.display(description="id")
    def id_column(self, task: Task) -> SafeString:
        """The full id, on two lines unless the page is wide; `<wbr>` keeps it one word when it is copied."""
        shown = str(task.pk)
        return format_html('<span class="td-id">{}<wbr>{}</span>', shown[:19], shown[19:])

    type_column = column("type", lambda task: format_html('<span title="{0}">{0}</span>', line(task.task_type, 40)))

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
            return f"{'held' if task.held else 'waits'} {span(now - task.ready_at)}"
        if task.started_at is None:
            return "never started"
        took = span((task.completed_at or now) - task.started_at)
        return f"runs {took}" if task.status == Status.PROCESSING else took

    error_column = column(
        "last error", lambda task: format_html('<span class="td-error">{}</span>', line(task.last_error, 140))
    )

    # Acts.

    def get_changelist_instance(self, request: HttpRequest) -> NewestFirst:
        # Once a request: Django asks for it before an act, and so does the act.
        if (made := vars(request).get("_list_of_tasks")) is None:
            made = vars(request)["_list_of_tasks"] = super().get_changelist_instance(request)
        return cast(NewestFirst, made)

    def get_actions(self, request: HttpRequest) -> Any:
        # Not Django's own: it deletes rows without `queue`.
        return {
            act.name: (partial(_ask, act), act.name, act.description)
            for act in chain(*registered("task_actions"))
            if may(request, act.right)
        }


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
    shown = tasks.get_changelist_instance(request)
    newest = newest_id()
    one_by_one = not all_that_match(request.POST.get("select_across"))
    if shown.faults:
        wanted = TaskFilter(ids=frozenset())
    elif one_by_one:
        # Wherever the list looks by now.
        selected = TaskFilter(ids=frozenset(map(UUID, request.POST.getlist(ACTION_CHECKBOX_NAME))))
        matching = shown.frozen.both(selected).matching(Task.objects.all())
        wanted = TaskFilter(ids=frozenset(matching.values_list("pk", flat=True)))
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
        if shown.further:
            how += f" The list has looked at {shown.looked_at} only; these are all, however far back."
    return HttpResponseRedirect(act.address(request, wanted, request.get_full_path(), how))
