"""Finds the tasks of a page without reading the whole table.

- No filter, or `ids`: by the key.
- `status`, `type` or both: among the newest (oldest) rows and, if they are too few, along the indexes of each status.
  The page is full if there are enough tasks.
- Any other filter: a limited number of rows, failed ones if no others can match. The page may be short.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from tasks_app.queue.claim import running_tasks
from tasks_app.queue.models import Status, Task, TaskQuerySet
from tasks_app.queue.task_filter import FIRST_ID, LAST_ID, TaskFilter

#: Rows that are read for a page by a filter without an index.
MAX_ROWS_READ = 10_000
#: Pending rows that are read to find the newest of them: their indexes have another order.
MAX_PENDING_READ = 20_000

#: A page of these filters is full if there are enough tasks.
SERVED = frozenset({"statuses", "types"})


@dataclass(frozen=True)
class Found:
    """`rows`: those that match, in the order of the list. `end`: the last id that was looked at, or one
    after it; None: the last one."""

    rows: TaskQuerySet
    end: UUID | None = None


@dataclass(frozen=True)
class Search:
    """Tasks by their ids, from `first` to `last`, the largest first unless `oldest`."""

    wanted: TaskFilter
    first: UUID
    last: UUID
    oldest: bool

    def ordered(self, tasks: TaskQuerySet) -> TaskQuerySet:
        """Of these rows, those in the range, in the order of the list."""
        if (self.first, self.last) != (FIRST_ID, LAST_ID):
            # Both bounds: without statistics, PostgreSQL takes a range with one for a third of the table, and scans it.
            tasks = tasks.filter(pk__gte=self.first, pk__lte=self.last)
        return tasks.order_by("pk" if self.oldest else "-pk")

    def edge(self, identity: UUID) -> UUID:
        """The end of the millisecond of an id, in the order of the list. No task has it: a caller that may see only
        some types learns no other task's id."""
        millisecond = identity.int >> 80
        return UUID(int=((millisecond + 1) << 80) - 1 if self.oldest else millisecond << 80)

    def until(self, end: UUID) -> Search:
        """The same search, no further than `end`."""
        return replace(self, last=end) if self.oldest else replace(self, first=end)


def search(wanted: TaskFilter, cursor: UUID | None, oldest: bool, limit: int) -> Found:
    """The tasks that match, those after the task `cursor` in the order of the list; at least `limit` + 1 if `end` is
    None and there are so many."""
    first, last = wanted.id_range
    if cursor is not None:
        if oldest:
            first = max(first, UUID(int=min(cursor.int + 1, LAST_ID.int)))
        else:
            last = min(last, UUID(int=max(cursor.int - 1, 0)))
    if first > last or cursor == (LAST_ID if oldest else FIRST_ID) or wanted.contradicts_itself:
        return Found(Task.objects.none())
    scope = Search(wanted, first, last, oldest)
    if wanted.ids is not None:
        return Found(scope.ordered(wanted.matching(Task.objects.all())))
    rows = Task.objects.failed() if wanted.only_failed else Task.objects.all()
    walk = scope.ordered(rows)
    if not wanted.given or wanted == TaskFilter(statuses=frozenset({Status.FAILED})):
        return Found(walk)
    end = walk.values_list("pk", flat=True)[MAX_ROWS_READ - 1 : MAX_ROWS_READ].first()
    if end is None:
        return Found(wanted.matching(walk))
    if wanted.types is not None:
        end = scope.edge(end)
    near = wanted.matching(scope.until(end).ordered(rows))
    if not wanted.given <= SERVED:
        return Found(near, end)
    ids = list(near.values_list("pk", flat=True)[: limit + 1])
    if len(ids) <= limit and (found := _by_status(scope, limit + 1)) is not None:
        ids = found
    elif len(ids) <= limit:
        return Found(wanted.matching(walk))
    # A row may be deleted before the page is read: only a cursor says that there may be more.
    return Found(
        Task.objects.filter(pk__in=ids).order_by("pk" if oldest else "-pk"), ids[limit] if ids[limit:] else None
    )


def _by_status(scope: Search, count: int) -> list[UUID] | None:
    """The first `count` ids of a search by status and type, along indexes. None: the rows have to be walked, because
    completed ones may match, or too many pending ones."""
    wanted = scope.wanted
    statuses = wanted.statuses or frozenset(Status)
    if Status.COMPLETED in statuses:  # no index has these: see CONTRIBUTING
        return None
    ids: set[UUID] = set()
    # Running and failed ones twice: a task may be claimed, go back or be redriven between two reads, and must not be
    # missed by both.
    if Status.FAILED in statuses:
        ids |= _failed(scope, count)
    if Status.PROCESSING in statuses:
        ids |= _running(scope)
    if Status.PENDING in statuses:
        pending = _pending(scope)
        if pending is None:
            return None
        ids |= pending
    if Status.PROCESSING in statuses:
        ids |= _running(scope)
    if Status.FAILED in statuses:
        ids |= _failed(scope, count)
    return sorted(ids, reverse=not scope.oldest)[:count]


def _failed(scope: Search, count: int) -> set[UUID]:
    """The first `count` ids of failed rows of the types."""
    failed = replace(scope.wanted, statuses=None).matching(scope.ordered(Task.objects.failed()))
    return set(failed.values_list("pk", flat=True)[:count])


def _running(scope: Search) -> set[UUID]:
    """The ids of all running rows of the types, of which there are no more than slots."""
    running = replace(scope.wanted, statuses=None).matching(running_tasks())
    return {pk for pk in running.values_list("pk", flat=True) if scope.first <= pk <= scope.last}


def _pending(scope: Search) -> set[UUID] | None:
    """The ids of all pending rows of the types; None if there are more than MAX_PENDING_READ."""
    by_type = replace(scope.wanted, statuses=None)
    ids: set[UUID] = set()
    # Along each index: without an order, the planner may scan the table. A task that waits may become ready between
    # two reads, so waiting ones are read first.
    for rows, order in (
        (Task.objects.waiting(), ("clock", "due")),
        (Task.objects.ready(), ("task_type", "position")),
    ):
        ids |= set(by_type.matching(rows).order_by(*order).values_list("pk", flat=True)[: MAX_PENDING_READ + 1])
        if len(ids) > MAX_PENDING_READ:
            return None
    return {pk for pk in ids if scope.first <= pk <= scope.last}
