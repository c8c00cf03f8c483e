"""Finds the tasks that match a filter without reading the whole table.

Rows are walked by their keys, the newest or the oldest first, along the narrowest index that has all tasks that match.
What is not found so is looked for among a limited number of rows; then `Found.end` says how far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet, Value

from tasks_app.queue.claim import running_tasks
from tasks_app.queue.current import store
from tasks_app.queue.models import Status, Task, TaskQuerySet
from tasks_app.queue.permit_models import HeldTask, Permit
from tasks_app.queue.task_filter import FIRST_ID, LAST_ID, ONLY_FAILED, TaskFilter

#: Rows that are looked at by a filter without an index.
MAX_ROWS_READ = 10_000
#: Pending rows that are read to find the newest of them: their indexes have another order.
MAX_PENDING_READ = 20_000

#: A page of these filters is full if there are enough tasks.
_SERVED = frozenset({"statuses", "types"})
#: Conditions that need no row to be read beyond those that match: the walk itself is bounded by them.
_BOUNDS = frozenset({"first_id", "last_id"})
_UNFINISHED = frozenset({Status.PENDING, Status.PROCESSING})


class Found(NamedTuple):
    """`rows`: those that match, in the order of the walk. `end`: the last id that was looked at, or one
    after it; None: the last one."""

    rows: TaskQuerySet
    end: UUID | None = None


@dataclass(frozen=True)
class Walk:
    """Tasks by their ids, from `first` to `last`, the largest first unless `oldest`."""

    wanted: TaskFilter
    first: UUID
    last: UUID
    oldest: bool

    @classmethod
    def of(cls, wanted: TaskFilter, cursor: UUID | None = None, oldest: bool = False) -> Walk | None:
        """All rows that can match, those after the id `cursor`; None: there are none."""
        first, last = wanted.id_range
        if cursor is not None:
            if oldest:
                first = max(first, UUID(int=min(cursor.int + 1, LAST_ID.int)))
            else:
                last = min(last, UUID(int=max(cursor.int - 1, 0)))
        if first > last or cursor == (LAST_ID if oldest else FIRST_ID) or wanted.contradicts_itself:
            return None
        return cls(wanted, first, last, oldest)

    @property
    def rows(self) -> TaskQuerySet:
        """The rows that are walked, whether or not they match, in no order."""
        if self.wanted.group is not None:
            rows = Task.objects.in_group(self.wanted.group)
        else:
            rows = Task.objects.failed() if self.wanted.only_failed else Task.objects.all()
        if (self.first, self.last) != (FIRST_ID, LAST_ID):
            # Both bounds: without statistics, PostgreSQL takes a range with one for a third of the table, and scans it.
            rows = rows.filter(pk__gte=self.first, pk__lte=self.last)
        return rows

    @property
    def rest(self) -> Q:
        """What rows that are walked must be to match. Conditions that they have by then are left out: PostgreSQL would
        expect fewer rows for each."""
        wanted = replace(self.wanted, first_id=None, last_id=None, group=None)
        return (replace(wanted, statuses=None) if wanted.statuses == ONLY_FAILED else wanted).condition

    @property
    def matching(self) -> TaskQuerySet:
        """The rows that match, in the order of the walk."""
        return self.ordered(self.rows.filter(self.rest))

    def ordered(self, tasks: TaskQuerySet) -> TaskQuerySet:
        """These rows in the order of the walk."""
        return tasks.order_by("pk" if self.oldest else "-pk")

    def within(self, most: int) -> Walk:
        """No more than the first `most` rows; itself if there are fewer."""
        ids = self.ordered(self.rows).values_list("pk", flat=True)
        if (end := ids[most - 1 : most].first()) is None:
            return self
        near = self.until(end)
        if self.wanted.only_failed and (begin := ids.first()) is not None:
            # PostgreSQL takes failed rows for evenly spread over all ids: of a range that begins where there are none,
            # it expects many, and may read all failed rows by another index.
            return replace(near, first=begin) if self.oldest else replace(near, last=begin)
        return near

    def until(self, end: UUID) -> Walk:
        """The same walk, no further than `end`."""
        return replace(self, last=end) if self.oldest else replace(self, first=end)

    @property
    def end(self) -> UUID:
        """Where it ends."""
        return self.last if self.oldest else self.first

    def edge(self, identity: UUID) -> UUID:
        """The end of the millisecond of an id, in the order of the walk. No task has it: a caller that may see only
        some types learns no other task's id."""
        millisecond = identity.int >> 80
        return UUID(int=((millisecond + 1) << 80) - 1 if self.oldest else millisecond << 80)


def newest_id() -> UUID:
    """The id of the newest task; FIRST_ID if there is none."""
    return Task.objects.order_by("-pk").values_list("pk", flat=True).first() or FIRST_ID


class FoundIds(NamedTuple):
    """The ids of tasks that match, in the order of a walk. `end`: the last id that was looked at; None: there are no
    more that can match."""

    ids: list[UUID]
    end: UUID | None


def ids_within(walk: Walk) -> FoundIds:
    """Those that match among the first MAX_ROWS_READ rows of a walk."""
    seen = list(with_matches(walk.ordered(walk.rows), walk.rest).values_list("pk", "matches")[:MAX_ROWS_READ])
    return FoundIds([pk for pk, matching in seen if matching], seen[-1][0] if len(seen) == MAX_ROWS_READ else None)


def all_ids(wanted: TaskFilter) -> Iterator[list[UUID]]:
    """The ids of all tasks that match, the newest first, in parts: for each no more rows are read than for a list."""
    walk = Walk.of(wanted)
    if walk is not None and (ids := _by_another_index(walk)) is not None:
        yield ids
        return
    while walk is not None:
        ids, end = ids_within(walk)
        yield ids
        walk = None if end is None else Walk.of(wanted, end)


def newest_matching(wanted: TaskFilter) -> TaskQuerySet | FoundIds:
    """The newest tasks that match: all of them, as far as an index finds them or ids name them, else those among the
    newest MAX_ROWS_READ rows. As rows, if these are found in their order."""
    walk = Walk.of(wanted)
    if walk is None:
        return Task.objects.none()
    if wanted.ids is not None or replace(walk.wanted, group=None).given - _BOUNDS <= (
        {"statuses"} if wanted.statuses == ONLY_FAILED else set()
    ):
        return walk.matching
    if (ids := _by_another_index(walk)) is not None:
        return FoundIds(ids, None)
    return ids_within(walk)


def _by_another_index(walk: Walk) -> list[UUID] | None:
    """The ids of all tasks that match, in order, if an index finds them that has another order, and not too many."""
    if (known := candidates(walk.wanted)) is None or not known.complete:
        return None
    among = with_matches(walk.ordered(Task.objects.filter(pk__among=known.ids)), walk.wanted.condition)
    return [pk for pk, matching in among.values_list("pk", "matches") if matching]


def with_matches(tasks: TaskQuerySet, condition: Q) -> QuerySet[Any, Any]:
    """With a column `matches`: whether the condition holds. Of a condition on the rows a planner may make another plan,
    by an index that it reads whole."""
    holds = ExpressionWrapper(condition, BooleanField()) if condition else Value(True, BooleanField())
    return tasks.annotate(matches=holds)


class Candidates(NamedTuple):
    """Ids of tasks that can match. `complete`: of all of them."""

    ids: list[UUID]
    complete: bool


def candidates(wanted: TaskFilter, most: int | None = None) -> Candidates | None:
    """Tasks that can match, about `most` of them, by an index that has another order than the ids: those that have not
    ended, among them those with a `limit_key`, or failed lately. None: there is no such index."""
    most = MAX_ROWS_READ if most is None else most
    if wanted.only_failed and wanted.ended_after is not None:
        late = Task.objects.failed().filter(completed_at__gte=wanted.ended_after).order_by("completed_at")
        ids = set(late.values_list("pk", flat=True)[: most + 1])
    elif wanted.statuses is None or not wanted.statuses <= _UNFINISHED:
        return None
    elif wanted.limit_key is not None:
        ids = _of_key(wanted.limit_key, wanted.types, most)
    else:
        ids = set()
        if Status.PENDING in wanted.statuses:
            # The index of tasks that wait has no types: of many, each would be read to find those of one.
            ids |= _pending(Task.objects.not_ready(), _of_types(wanted, Task.objects.ready()), most)
        if Status.PROCESSING in wanted.statuses:
            ids |= _running(wanted)
    return Candidates(sorted(ids)[:most], len(ids) <= most)


def search(wanted: TaskFilter, cursor: UUID | None, oldest: bool, limit: int) -> Found:
    """A page of the tasks that match, those after the task `cursor` in the order of the list; at least `limit` + 1 if
    `end` is None and there are so many.

    - No filter, or `ids`: by the key.
    - `status`, `type` or both: among the newest (oldest) rows and, if they are too few, along the indexes of each
      status. The page is full if there are enough tasks.
    - `limit_key` of tasks that have not ended: by the tables of held tasks and permits, if no more than MAX_ROWS_READ
      have it. The page is full.
    - Any other filter: a limited number of rows, failed ones if no others can match. The page may be short.
    """
    walk = Walk.of(wanted, cursor, oldest)
    if walk is None:
        return Found(Task.objects.none())
    if wanted.ids is not None or not wanted.given or wanted == TaskFilter(statuses=ONLY_FAILED):
        return Found(walk.matching)
    if wanted.limit_key is not None and (known := candidates(wanted)) is not None and known.complete:
        within = [pk for pk in known.ids if walk.first <= pk <= walk.last]
        return Found(walk.ordered(wanted.matching(Task.objects.filter(pk__among=within))))
    near = walk.within(MAX_ROWS_READ)
    if near is walk:
        return Found(walk.matching)
    if wanted.types is not None:
        near = walk.until(walk.edge(near.end))
    if not wanted.given <= _SERVED:
        return Found(near.matching, near.end)
    ids = list(near.matching.values_list("pk", flat=True)[: limit + 1])
    if len(ids) <= limit and (found := _by_status(walk, limit + 1)) is not None:
        ids = found
    elif len(ids) <= limit:
        return Found(walk.matching)
    # A row may be deleted before the page is read: only a cursor says that there may be more.
    return Found(walk.ordered(Task.objects.filter(pk__in=ids)), ids[limit] if ids[limit:] else None)


def _by_status(walk: Walk, count: int) -> list[UUID] | None:
    """The first `count` ids of a search by status and type, along indexes. None: the rows have to be walked, because
    completed ones may match, or too many pending ones."""
    wanted = walk.wanted
    statuses = wanted.statuses or frozenset(Status)
    if Status.COMPLETED in statuses:  # no index has these: docs/design/postgresql.md
        return None
    ids: set[UUID] = set()
    # Running and failed ones twice: a task may be claimed, go back or be redriven between two reads, and must not be
    # missed by both.
    if Status.FAILED in statuses:
        ids |= _failed(walk, count)
    if Status.PROCESSING in statuses:
        ids |= _running(wanted)
    if Status.PENDING in statuses:
        waiting, ready = (_of_types(wanted, rows) for rows in (Task.objects.not_ready(), Task.objects.ready()))
        pending = _pending(waiting, ready, MAX_PENDING_READ)
        if len(pending) > MAX_PENDING_READ:
            return None
        ids |= pending
    if Status.PROCESSING in statuses:
        ids |= _running(wanted)
    if Status.FAILED in statuses:
        ids |= _failed(walk, count)
    return sorted((pk for pk in ids if walk.first <= pk <= walk.last), reverse=not walk.oldest)[:count]


def _failed(walk: Walk, count: int) -> set[UUID]:
    """The first `count` ids of failed rows of the types."""
    failed = replace(walk, wanted=replace(walk.wanted, statuses=ONLY_FAILED)).matching
    return set(failed.values_list("pk", flat=True)[:count])


def _of_types(wanted: TaskFilter, tasks: TaskQuerySet) -> TaskQuerySet:
    return TaskFilter(types=wanted.types).matching(tasks)


def _running(wanted: TaskFilter) -> set[UUID]:
    """The ids of all running rows of the types, of which there are no more than slots."""
    return set(_of_types(wanted, running_tasks()).values_list("pk", flat=True))


def _pending(waiting: TaskQuerySet, ready: TaskQuerySet, most: int) -> set[UUID]:
    """The ids of these rows; if there are more than `most`, of more than `most`."""
    ids: set[UUID] = set()
    # Along each index: without an order, the planner may scan the table. A task that waits may become ready between
    # two reads, so waiting ones are read first.
    for rows, order in ((waiting, ("clock", "due")), (ready, ("task_type", "position"))):
        if len(ids) <= most:
            ids |= set(rows.order_by(*order).values_list("pk", flat=True)[: most + 1])
    return ids


def _of_key(key: str, types: frozenset[str] | None, most: int) -> set[UUID]:
    """The ids of the tasks with this `limit_key` that have not ended; if there are more than `most`, of more than
    `most`. Tasks that wait for their times are in no index by key: those that may have it too are among them."""
    ids: set[UUID] = set()
    # A fill lets held tasks go between two reads, and a release or a better task holds one again. A task that waits
    # may be held by then.
    clock, held_clock = store().clock_id(), store().held_clock()
    later = Q(clock__gt=clock) if held_clock == clock else Q(clock__gt=clock, clock__lt=held_clock)
    for clocks in (Q(clock=clock), Q(clock__lt=clock), later):  # none of these ranges has held rows
        waiting = Task.objects.waiting().filter(clocks).order_by("clock", "due")
        ids |= set(waiting.values_list("pk", flat=True)[: most + 1])
    held = HeldTask.objects.filter(waits=False)
    for rows in (held, Permit.objects.filter(attempt=None), held):
        for name in sorted(types) if types is not None else _types(rows):
            if len(ids) <= most:
                its = rows.filter(task_type=name, limit_key=key)
                ids |= set(its.values_list("task_id", flat=True)[: most + 1])
    return ids


def _types(rows: QuerySet[Any]) -> Iterator[str]:
    """The types of held tasks or of permits: for each, one entry of the index is read."""
    name: str | None = ""
    by_type = rows.order_by("task_type", "limit_key").values_list("task_type", flat=True)
    while (name := by_type.filter(task_type__gt=name).first()) is not None:
        yield name
