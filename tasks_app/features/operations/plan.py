"""What an operation is asked to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, Min

from tasks_app import conf
from tasks_app.features.operations.models import Operation, Verb
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue import clock
from tasks_app.queue.models import Status, Task, TaskQuerySet
from tasks_app.queue.node_models import HandlerPause
from tasks_app.queue.task_filter import LAST_ID, TaskFilter

# A filter as an operation's row and a form store it.

_SETS, _IDS = ("statuses", "types", "reasons", "tags"), ("first_id", "last_id")
_MOMENTS = ("created_after", "created_before", "ended_after", "ended_before")


def as_json(wanted: TaskFilter) -> dict[str, Any]:
    """The conditions as JSON values, by their names."""
    return {name: _value(getattr(wanted, name)) for name in sorted(wanted.given)}


def of_json(values: Mapping[str, Any]) -> TaskFilter:
    """The inverse of `as_json`. Raises ValueError if a condition is unknown: without it more tasks would match."""
    if unknown := set(values) - {each.name for each in fields(TaskFilter)}:
        raise ValueError(f"unknown conditions {sorted(unknown)}: a newer version has started this operation")
    given: dict[str, Any] = dict(values)
    for name in given:
        value = given[name]
        if name in _SETS:
            given[name] = frozenset(value)
        elif name in _MOMENTS:
            given[name] = datetime.fromisoformat(value)
        elif name in _IDS:
            given[name] = UUID(value)
        elif name == "ids":
            given[name] = frozenset(UUID(each) for each in value)
        elif name == "words":
            given[name] = tuple(value)
    return TaskFilter(**given)


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    return list(value) if isinstance(value, tuple) else value


# Walks the tasks that match a filter by their ids, a bounded number of rows at a time.

#: Rows that are read for one window by a filter that few of them match.
MAX_ROWS_READ = 5_000


class Window(NamedTuple):
    """`rows`: a part of the tasks that match, in no order. `end`: their largest id, or one after it; None: there are no
    more."""

    rows: TaskQuerySet
    end: UUID | None


def window(scope: TaskFilter, cursor: UUID | None, max_rows: int = MAX_ROWS_READ) -> Window:
    """The tasks after `cursor`, among the next `max_rows` rows."""
    low, high = scope.id_range
    if cursor is not None:
        low = max(low, UUID(int=min(cursor.int + 1, LAST_ID.int)))
    if low > high or cursor == LAST_ID or scope.contradicts_itself:
        return Window(Task.objects.none(), None)
    if scope.ids is not None:
        named = sorted(each for each in scope.ids if low <= each <= high)[:max_rows]
        end = named[-1] if len(named) == max_rows else None
        return Window(replace(scope, ids=None).matching(Task.objects.filter(pk__in=named)), end)
    rows = _rows(scope)
    # Both bounds: without statistics, PostgreSQL takes a range with one for a third of the table, and scans it.
    ahead = rows.filter(pk__gte=low, pk__lte=high).order_by("pk")
    end = ahead.values_list("pk", flat=True)[max_rows - 1 : max_rows].first()
    near = rows.filter(pk__gte=low, pk__lte=high if end is None else end)
    return Window(scope.matching(near), end)


def _rows(scope: TaskFilter) -> TaskQuerySet:
    """The rows to read, by the narrowest index that has all tasks that match."""
    if scope.group is not None:
        return Task.objects.in_group(scope.group)
    return Task.objects.failed() if scope.only_failed else Task.objects.all()


def next_ids(scope: TaskFilter, cursor: UUID | None, size: int) -> tuple[list[UUID], UUID | None]:
    """The ids of the next tasks, at most `size`, and the cursor after them; None: there are no more."""
    found = window(scope, cursor)
    ids = list(found.rows.order_by("pk").values_list("pk", flat=True)[:size])
    return ids, ids[-1] if len(ids) == size else found.end


#: The statuses of the tasks that each verb moves.
FITS: Mapping[str, frozenset[str]] = {
    Verb.REDRIVE: frozenset({Status.FAILED}),
    Verb.CANCEL: frozenset({Status.PENDING, Status.PROCESSING}),
    Verb.DELETE: frozenset(Status),
    Verb.PRIORITY: frozenset({Status.PENDING}),
}
#: Tasks a second.
MIN_RATE, MAX_RATE = 0.01, 100_000.0
MAX_LIMIT = 1_000_000_000
#: Tasks of a canary, and how long it may take to end.
MAX_CANARY, CANARY_SECONDS = 100, 600.0
#: Of those that were redriven, in the admin and for commands.
DEFAULT_STOP_SHARE = 0.5


class PlanRefused(Exception):
    """The plan contradicts itself; the message says why, in a sentence."""


@dataclass(frozen=True)
class Plan:
    """`types`: the only ones that the caller may act on; None: all. The others are columns of Operation."""

    verb: str
    wanted: TaskFilter
    types: frozenset[str] | None = None
    priority: int | None = None
    rate: float | None = None
    limit: int | None = None
    canary: int | None = None
    canary_seconds: float = CANARY_SECONDS
    stop_share: float | None = None

    def check(self) -> None:
        """Raise PlanRefused if no operation can be started by this plan."""
        fits = FITS[self.verb]
        if self.wanted.statuses is not None and not self.wanted.statuses & fits:
            raise PlanRefused(
                f"{self.verb} acts on tasks that are {words(fits)}, and the filter lets none of them through"
            )
        if self.wanted.reasons is not None and Status.FAILED not in fits:
            raise PlanRefused(
                f"{self.verb} acts on tasks that are {words(fits)}, and only failed ones have a failure_reason"
            )
        if (self.verb == Verb.PRIORITY) != (self.priority is not None):
            raise PlanRefused("a new priority belongs to the verb priority, and is needed there")
        if self.priority is not None and not 0 <= self.priority <= 100:
            raise PlanRefused("the new priority must be from 0 to 100")
        if self.rate is not None and not MIN_RATE <= self.rate <= MAX_RATE:
            raise PlanRefused(f"the rate must be from {MIN_RATE:g} to {MAX_RATE:,.0f} tasks a second")
        if self.limit is not None and not 1 <= self.limit <= MAX_LIMIT:
            raise PlanRefused(f"the limit must be from 1 to {MAX_LIMIT:,} tasks")
        if self.canary is not None and not 1 <= self.canary <= MAX_CANARY:
            raise PlanRefused(f"the canary must have 1 to {MAX_CANARY} tasks")
        if self.stop_share is not None and not 0.0 < self.stop_share <= 1.0:
            raise PlanRefused("the share of failures at which it stops must be above 0 and at most 1")
        if self.verb != Verb.REDRIVE and (self.canary is not None or self.stop_share is not None):
            raise PlanRefused("only a redrive can have a canary, or stop when tasks fail again")

    @property
    def scope(self) -> TaskFilter:
        """The tasks that it moves; of tasks named by their ids also those that it will skip."""
        wanted = self.wanted
        if self.types is not None:
            wanted = replace(wanted, types=self.types if wanted.types is None else wanted.types & self.types)
        if wanted.ids is not None:
            return wanted
        fits = FITS[self.verb]
        return replace(wanted, statuses=fits if wanted.statuses is None else wanted.statuses & fits)


def plan_of(operation: Operation) -> Plan:
    """The plan by which an operation was started."""
    return Plan(
        verb=operation.verb,
        wanted=of_json(operation.filter),
        types=None if operation.types is None else frozenset(operation.types),
        priority=operation.priority,
        rate=operation.rate,
        limit=operation.limit,
        canary=operation.canary,
        canary_seconds=operation.canary_seconds or CANARY_SECONDS,
        stop_share=operation.stop_share,
    )


def words(statuses: frozenset[str]) -> str:
    """Statuses as part of a sentence."""
    return " or ".join(str(each) for each in Status if each in statuses)


# What an operator should know before tasks are redriven.

#: Only so many are named.
MAX_WARNINGS = 10


def warnings(verb: str, types: Iterable[str]) -> list[str]:
    """Why tasks of these types will not run once they are redriven, in sentences. Raises DatabaseError."""
    if verb != Verb.REDRIVE:
        return []
    found, known, reading, paused = [], conf.handlers(), current_reading(), HandlerPause.objects.by_type()
    for name in sorted(types):
        if name not in known:
            found.append(f"no handler is named {name}: its tasks will wait until there is one")
        elif name in paused:
            found.append(f"{name} is paused by {paused[name].paused_by}: its tasks will wait until it is resumed")
        elif (handler := reading.handlers.get(name)) is not None and handler.problems:
            found.append(f"{name}: {'; '.join(handler.problems)}")
        elif handler is None or not handler.slots:
            found.append(f"no living node serves {name}: its tasks will wait until one does")
    more = len(found) - MAX_WARNINGS
    return found if more <= 0 else [*found[:MAX_WARNINGS], f"and {more:,} more types"]


# What an operation would do, counted.

#: Counting ends at so many tasks, and after so many seconds.
MAX_COUNTED, MAX_SECONDS = 100_000, 5.0
ROWS_READ = 20_000


@dataclass
class Preview:
    """Numbers of tasks. `exact`: all were counted; otherwise there are at least so many.

    `by_reason`: of failed ones. `unfit`: by status, those that were named by their ids and will be skipped.
    """

    matched: int = 0
    exact: bool = True
    by_type: Counter[str] = field(default_factory=Counter)
    by_status: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)
    oldest: datetime | None = None

    def add(self, task_type: str, status: str, reason: str | None, count: int, oldest: datetime) -> None:
        """Add tasks that fit."""
        self.matched += count
        self.by_type[task_type] += count
        self.by_status[status] += count
        if reason is not None:
            self.by_reason[reason] += count
        self.oldest = oldest if self.oldest is None else min(oldest, self.oldest)


def preview(plan: Plan, seconds: float = MAX_SECONDS) -> Preview:
    """Count the tasks that the plan's operation would move if it began now."""
    found, until = Preview(), clock.elapsed() + seconds
    cursor: UUID | None = None
    while True:
        part = window(plan.scope, cursor, ROWS_READ)
        groups = part.rows.order_by().values_list("task_type", "status", "failure_reason")
        for task_type, status, reason, count, oldest in groups.annotate(count=Count("pk"), oldest=Min("created_at")):
            if status in FITS[plan.verb]:
                found.add(task_type, status, reason, count, oldest)
            else:
                found.unfit[status] += count
        cursor = part.end
        if cursor is None:
            return found
        if found.matched >= MAX_COUNTED or clock.elapsed() >= until:
            found.exact = False
            return found
