"""Deliveries that have ended are kept as long as tasks that ended so, and no longer than lines of the audit log.

One that is still to be delivered is always kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import datetime
from uuid import UUID

from tasks_app.features.callbacks.models import Delivery, Event, State
from tasks_app.queue.current import writing


def forget_ended(status: str, types: Set[str] | None, without: Set[str], before: datetime, most: int) -> int:
    """Remove the oldest that tell of tasks which ended so (`Feature.forgets_ended`)."""
    names = _types() if types is None else sorted(types)
    return _forget([Event(f"task.{status}")], (name for name in names if name not in without), before, most)


def forget(before: datetime, most: int) -> int:
    """Remove the oldest, whatever they tell (`Feature.forgets`)."""
    return _forget(Event.values, _types(), before, most)


def _forget(events: Iterable[str], types: Iterable[str], before: datetime, most: int) -> int:
    """Of each type along the index: one whose deliveries are kept for longer costs the others nothing."""
    for name in types:
        for event in events:
            old = Delivery.objects.filter(task_type=name, event=event, ended_at__lt=before).order_by("ended_at")
            if removed := _remove(list(old.values_list("pk", flat=True)[:most])):
                return removed
    return 0


def _remove(keys: Sequence[UUID]) -> int:
    if not keys:  # no write lock if there is nothing to do
        return 0
    with writing():  # one may have been sent anew since they were read
        return Delivery.objects.filter(pk__in=keys).exclude(status=State.PENDING).delete()[0]


def _types() -> Iterator[str]:
    """The types that have deliveries which have ended."""
    ended, name = Delivery.objects.filter(ended_at__isnull=False).order_by("task_type"), ""
    while (after := ended.filter(task_type__gt=name).values_list("task_type", flat=True).first()) is not None:
        yield (name := after)
