"""Walks the tasks that match a filter by their ids, a bounded number of rows at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from tasks_app.models import Task, TaskFilter, TaskQuerySet
from tasks_app.models.task_filter import LAST_ID

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
