"""What an operation is to do: its plan, the tasks that match it, and a batch of their moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate
from operator import attrgetter
from typing import Any
from uuid import UUID

from tasks_app.feature import BulkAct, registered
from tasks_app.features.operations.models import Operation, Verb
from tasks_app.handlers.words import rfc3339
from tasks_app.queue.cancel import cancel_many, delete_many
from tasks_app.queue.current import store
from tasks_app.queue.followed import lock_followers
from tasks_app.queue.models import DONE, FITS, Status, Task, TaskQuerySet
from tasks_app.queue.redrive import prioritize_many, redrive_many
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.queue.task_search import Found, Walk

# What an operation can do.


@cache
def bulk_acts() -> Mapping[str, BulkAct]:
    """The acts of features, by their verbs."""
    return {act.verb: act for acts in registered("bulk_acts") for act in acts}


def fits(verb: str) -> frozenset[str]:
    """The statuses of the tasks that it moves. Raises KeyError if this version does not know the verb."""
    return FITS[verb] if verb in FITS else bulk_acts()[verb].fits


def called(verb: str) -> str:
    """What sentences call it."""
    act = bulk_acts().get(verb)
    return verb if act is None else act.called


def done(verb: str) -> str:
    """What a task is then said to be."""
    act = bulk_acts().get(verb)
    return DONE.get(verb, verb) if act is None else act.done


# A filter as an operation's row and a form store it.

_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("statuses", "types", "reasons", "tags"), frozenset),
    **dict.fromkeys(("created_after", "created_before", "ended_after", "ended_before"), datetime.fromisoformat),
    **dict.fromkeys(("first_id", "last_id"), UUID),
    "ids": lambda ids: frozenset(map(UUID, ids)),
    "words": tuple,
}


def as_json(wanted: TaskFilter) -> dict[str, Any]:
    """The conditions as JSON values, by their names."""
    return {name: _value(getattr(wanted, name)) for name in sorted(wanted.given)}


def of_json(values: Mapping[str, Any]) -> TaskFilter:
    """The inverse of `as_json`. Raises ValueError if a condition is unknown: without it more tasks would match."""
    if unknown := set(values) - {condition.name for condition in fields(TaskFilter)}:
        raise ValueError(f"unknown conditions {sorted(unknown)}: a newer version has started this operation")
    return TaskFilter(**{name: _PARSERS[name](value) if name in _PARSERS else value for name, value in values.items()})


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    return list(value) if isinstance(value, tuple) else value


#: How long a canary may take to end.
CANARY_SECONDS = 600.0
#: Of those that were redriven.
DEFAULT_STOP_SHARE = 0.5


@dataclass(frozen=True)
class Option:
    """A number that a plan may have, as the API, the admin's form and the commands take it.

    `valid`: what it must be, as part of a sentence. `absent`: what holds without it. `above`: it is larger than `low`.
    `verbs`: those that it belongs to; None: all.
    """

    label: str
    help: str
    absent: str
    low: float
    high: float
    valid: str
    verbs: frozenset[str] | None = None
    whole: bool = True
    above: bool = False

    def belongs_to(self, verb: str) -> bool:
        """Whether a plan of this verb may have it."""
        return self.verbs is None or verb in self.verbs

    def allows(self, value: float) -> bool:
        """Whether it may have this value."""
        return (self.low < value if self.above else self.low <= value) and value <= self.high


REDRIVES = frozenset({str(Verb.REDRIVE)})
#: By their names in a plan, in an operation, in the API and in commands.
OPTIONS: Mapping[str, Option] = {
    "priority": Option(
        "New priority", "What the tasks get.", "", 0, 100, "an integer from 0 to 100", frozenset({str(Verb.PRIORITY)})
    ),
    "canary": Option(
        "Canary", "So many tasks go first; the others only if all of these succeed.", "no canary", 1, 100,
        "an integer from 1 to 100", REDRIVES,
    ),
    "stop_share": Option(
        "Stop at % failed again",
        "It stops by itself once more than this share has failed again, of at least 20 that have ended.",
        "a half with a canary; without one, it does not stop", 0.0, 1.0, "a number above 0, at most 1", REDRIVES,
        whole=False, above=True,
    ),
    "rate": Option(
        "Rate", "Tasks a second.", "as fast as the nodes can without holding up other tasks", 0.01, 100_000.0,
        "a number of tasks a second from 0.01 to 100,000", whole=False,
    ),
    "limit": Option(
        "Limit", "At most so many tasks.", "all", 1, 1_000_000_000, "an integer from 1 to 1,000,000,000"
    ),
}  # fmt: skip


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

    @classmethod
    def of(cls, verb: str, wanted: TaskFilter, given: Mapping[str, Any], types: frozenset[str] | None = None) -> Plan:
        """The plan with the given OPTIONS: a canary brings a stop share with it."""
        values: dict[str, Any] = {name: given.get(name) for name in OPTIONS}
        if values["canary"] is not None and values["stop_share"] is None:
            values["stop_share"] = DEFAULT_STOP_SHARE
        return cls(verb, wanted, types, **values)

    def faults(self) -> list[tuple[str, str]]:
        """Why no operation can be started by it: the option, or `filter`, and a sentence. All at once."""
        found, moved, act = [], fits(self.verb), called(self.verb)
        moves = f"{act} acts on tasks that are {words(moved)}, and"
        if self.wanted.statuses is not None and not self.wanted.statuses & moved:
            found.append(("filter", f"{moves} the filter lets none of them through"))
        elif self.wanted.reasons is not None and Status.FAILED not in moved:
            found.append(("filter", f"{moves} only failed ones have a failure_reason"))
        for name, option in OPTIONS.items():
            value = getattr(self, name)
            if value is not None and not option.belongs_to(self.verb):
                found.append((name, f"{name} belongs to {' and '.join(sorted(option.verbs or ()))}, not to {act}"))
            elif value is not None and not option.allows(value):
                found.append((name, f"{name} must be {option.valid}, not {value:,.15g}"))
        if self.verb == Verb.PRIORITY and self.priority is None:
            found.append(("priority", f"priority is missing; it must be {OPTIONS['priority'].valid}"))
        return found

    @property
    def scope(self) -> TaskFilter:
        """The tasks that it moves; of tasks named by their ids also those that it will skip."""
        wanted = self.wanted
        if self.types is not None:
            wanted = replace(wanted, types=self.types if wanted.types is None else wanted.types & self.types)
        if wanted.ids is not None:
            return wanted
        moved = fits(self.verb)
        return replace(wanted, statuses=moved if wanted.statuses is None else wanted.statuses & moved)


def plan_of(operation: Operation) -> Plan:
    """The plan by which an operation was started."""
    return Plan(
        operation.verb,
        of_json(operation.filter),
        types=None if operation.types is None else frozenset(operation.types),
        canary_seconds=operation.canary_seconds or CANARY_SECONDS,
        **{name: getattr(operation, name) for name in OPTIONS},
    )


def words(statuses: frozenset[str]) -> str:
    """Statuses as part of a sentence."""
    return " or ".join(str(status) for status in Status if status in statuses)


# The tasks that match a filter are walked by their ids, a bounded number of rows at a time.

#: Rows that are read for one window by a filter that few of them match.
MAX_ROWS_READ = 5_000


def window(scope: TaskFilter, cursor: UUID | None, max_rows: int = MAX_ROWS_READ) -> Found:
    """The tasks after `cursor`, among the next `max_rows` rows."""
    walk = Walk.of(scope, cursor, oldest=True)
    if walk is None:
        return Found(Task.objects.none())
    if scope.ids is not None:
        named = sorted(task for task in scope.ids if walk.first <= task <= walk.last)[:max_rows]
        end = named[-1] if len(named) == max_rows else None
        return Found(replace(scope, ids=None).matching(Task.objects.filter(pk__in=named)), end)
    near = walk.within(max_rows)
    return Found(near.matching, None if near is walk else near.end)


def next_ids(scope: TaskFilter, cursor: UUID | None, size: int) -> tuple[list[UUID], UUID | None]:
    """The ids of the next tasks, at most `size`, and the cursor after them; None: there are no more."""
    near = window(scope, cursor)
    ids = list(near.rows.order_by("pk").values_list("pk", flat=True)[:size])
    return ids, ids[-1] if len(ids) == size else near.end


# The moves of one batch, in the caller's write transaction.

#: Why a task was skipped, beside its status. `Operation.skipped` has these keys.
LIVING_TWIN, GONE, CHANGED = "living_twin", "gone", "changed"
#: Bytes of data and results in a batch, unless a single task has more. PostgreSQL deletes them in parts of 2 kB, and
#: SQLite writes a changed row anew: even a slow disk takes less than a second for so many.
MAX_BYTES = 8 * 1024 * 1024
#: What the verbs do not need.
_LARGE = ("task_data", "result", "metadata", "tags", "last_error")


@dataclass
class Batch:
    """What came of a batch. `moved`: ids. `passed`: how far the operation has come; None: it has passed all tasks.

    `busy`: another transaction has locked the first task, so that nothing was done.
    """

    moved: list[UUID] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    passed: UUID | None = None
    busy: bool = False


def move(operation: Operation, size: int, give_up: bool = False) -> Batch:
    """Move the next tasks of an operation, at most `size`.

    `give_up`: the database refuses this batch of one task; it is counted as failed. Raises DatabaseError.
    """
    plan = plan_of(operation)
    scope = _frozen(plan, operation)
    ids, cursor = next_ids(scope, operation.passed, size)
    if len(few := _within_bytes(ids)) < len(ids):
        ids, cursor = few, few[-1]
    batch = Batch(passed=cursor)
    fitting = _fitting(scope, plan, operation)
    rows = list(_lock(fitting, Task.objects.unfollowed(), ids))
    if missing := set(ids) - {row.pk for row in rows}:
        matching = fitting.matching(Task.objects.filter(pk__in=missing))
        left = dict(matching.values_list("pk", "followed"))
        if followed := [task for task, is_followed in left.items() if is_followed]:
            lock_followers(followed)
            rows = sorted([*rows, *_lock(fitting, Task.objects.all(), followed)], key=attrgetter("pk"))
            missing -= {row.pk for row in rows}
        if busy := left.keys() & missing:
            # Locked by another transaction, whose rows this one must not wait for while it holds others.
            first = min(busy)
            ids = [task for task in ids if task < first]
            if not ids:
                return Batch(passed=operation.passed, busy=True)
            rows = [row for row in rows if row.pk < first]
            missing = {task for task in missing if task < first}
            batch.passed = ids[-1]
        batch.skipped = _reasons(missing, fits(plan.verb))
    if rows and give_up:
        batch.failed = len(rows)
    elif rows:
        _act(plan, operation, rows, batch)
    return batch


def _within_bytes(ids: list[UUID]) -> list[UUID]:
    """The first of the tasks that have MAX_BYTES together, at least one."""
    sizes = dict(Task.objects.filter(pk__in=ids).values_list("pk", store().task_bytes()))
    sums = accumulate(sizes.get(task, 0) for task in ids)
    return [task for task, so_far in zip(ids, sums, strict=True) if so_far <= MAX_BYTES] or ids[:1]


def _frozen(plan: Plan, operation: Operation) -> TaskFilter:
    """The tasks to walk: those that were stored at the start, and for a redrive had failed by then."""
    scope, started = plan.scope, operation.created_at
    before = started + timedelta(microseconds=1)
    scope = replace(
        scope,
        last_id=operation.last_id if scope.last_id is None else min(operation.last_id, scope.last_id),
        created_before=before if scope.created_before is None else min(before, scope.created_before),
    )
    return scope if scope.ids is not None or plan.verb != Verb.REDRIVE else replace(scope, ended_before=started)


def _fitting(scope: TaskFilter, plan: Plan, operation: Operation) -> TaskFilter:
    """Those of them that the verb moves."""
    statuses = fits(plan.verb) if scope.statuses is None else fits(plan.verb) & scope.statuses
    ended_before = operation.created_at if plan.verb == Verb.REDRIVE else None
    return replace(scope, ids=None, statuses=statuses, ended_before=ended_before)


def _lock(fitting: TaskFilter, tasks: TaskQuerySet, ids: list[UUID]) -> TaskQuerySet:
    # SKIP LOCKED avoids a deadlock with a settle or another batch. The conditions are checked again on what is locked.
    rows = fitting.matching(tasks.filter(pk__in=ids)).select_for_update(skip_locked=True)
    return rows.order_by("pk").defer(*_LARGE)


def _reasons(ids: set[UUID], moved: frozenset[str]) -> Counter[str]:
    """Why tasks that an operation was to move do not match any more."""
    if not ids:
        return Counter()
    statuses = dict(Task.objects.filter(pk__in=ids).values_list("pk", "status"))
    return Counter(
        GONE if task not in statuses else CHANGED if statuses[task] in moved else str(Status(statuses[task]))
        for task in ids
    )


def _act(plan: Plan, operation: Operation, rows: Sequence[Task], batch: Batch) -> None:
    moved = [row.pk for row in rows]
    match plan.verb:
        case Verb.REDRIVE:
            moved, twins = redrive_many(rows)
            if twins:
                batch.skipped[LIVING_TWIN] += len(twins)
        case Verb.CANCEL:
            cancel_many(rows, f"cancelled by {operation.created_by}")
        case Verb.DELETE:
            delete_many(rows)
        case Verb.PRIORITY:
            prioritize_many(rows, plan.priority or 0)
        case _:
            act = bulk_acts()[plan.verb]
            changed = act.act(moved)
            moved = [task for task in moved if task in changed]
            batch.skipped += Counter({act.skipped: len(rows) - len(moved)})
    batch.moved = moved
