"""Removes operations that were over long ago."""

from __future__ import annotations

from datetime import datetime

from tasks_app.db.first_id import first_id
from tasks_app.models import Operation, OperationState
from tasks_app.store.transactions import writing


def forget(before: datetime, most: int) -> int:
    """Remove the oldest operations that were over before a moment, at most so many. Returns how many."""
    # By the id too, which begins with the time of the start: no index has the end.
    started = Operation.objects.filter(pk__lt=first_id(before)).order_by("pk")
    old = started.exclude(state=OperationState.RUNNING).filter(ended_at__lt=before)
    ids = list(old.values_list("pk", flat=True)[:most])
    if not ids:
        return 0
    with writing():
        return Operation.objects.filter(pk__in=ids).delete()[0]
