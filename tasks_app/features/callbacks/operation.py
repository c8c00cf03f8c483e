"""The callbacks of all tasks that match a filter are sent anew, as an operation."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tasks_app.feature import BulkAct
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.verbs import again
from tasks_app.queue.models import FINAL


def retry_failed(tasks: Sequence[UUID]) -> set[UUID]:
    """Send the failed callbacks of these tasks anew, in the caller's transaction. Returns the tasks that have one."""
    failed = Delivery.objects.filter(task__in=tasks, status=State.FAILED)
    found = set(failed.values_list("task", flat=True))
    again(failed)
    return found


bulk_acts = [
    BulkAct(
        verb="callbacks",
        fits=frozenset(map(str, FINAL)),
        done="told of again",
        act=retry_failed,
        skipped="no_failed_callback",
        address="api/callbacks/retry",
        name="retry_callbacks",
        text="Send the failed callbacks of all tasks that match a filter anew. A task without one is skipped.",
    )
]
