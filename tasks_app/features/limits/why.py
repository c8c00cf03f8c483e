"""Why a task with a `limit_key` is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from tasks_app import conf
from tasks_app.features.limits.filler import limits
from tasks_app.handlers.words import plural
from tasks_app.queue.permit_models import HeldTask, Permit

#: A position within a key is exact up to here.
MAX_BEFORE = 10_000


def why(ids: Sequence[UUID]) -> Mapping[UUID, str]:
    """For `Feature.holds`."""
    rows = HeldTask.objects.filter(pk__in=ids, waits=False)
    most = limits()
    return {row.pk: _sentence(row, most.get(row.task_type)) for row in rows}


def _sentence(row: HeldTask, most: int | None) -> str:
    its = {"task_type": row.task_type, "limit_key": row.limit_key}
    others = HeldTask.objects.filter(**its, waits=False)
    order = conf.environment().task_selection
    if order == "lifo":
        others = others.filter(position__gt=row.position)
    elif order == "fifo":
        others = others.filter(position__lt=row.position)
    else:
        first = HeldTask.objects.filter(**its, waits=False, priority=row.priority, position__lt=row.position)
        others = others.filter(priority__gt=row.priority)
        return _said(row, most, others[: MAX_BEFORE + 1].count() + first[: MAX_BEFORE + 1].count())
    return _said(row, most, others[: MAX_BEFORE + 1].count())


def _said(row: HeldTask, most: int | None, before: int) -> str:
    if most is None:
        return f"its turn comes within about a second: its limit_key {row.limit_key!r} has no limit"
    used = Permit.objects.filter(task_type=row.task_type, limit_key=row.limit_key)[: most + 1].count()
    if before > MAX_BEFORE:
        said = f"more than {MAX_BEFORE:,} tasks of the key are before it"
    elif before:
        said = f"{before:,} {plural(before, 'task of the key is', 'tasks of the key are')} before it"
    else:
        said = "it is the next one of the key"
    return (
        f"of its limit_key {row.limit_key!r} {used:,} {plural(used, 'task is', 'tasks are')} ready or running, of at "
        f"most {most:,} (max_running_per_key), and {said}"
    )
