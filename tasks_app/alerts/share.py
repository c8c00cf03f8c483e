"""How many of the tasks that ended lately have failed, by handler: read from rows, so that no task pays for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count
from django.db.models.functions import Now

from tasks_app.metrics.rates import recent_rates
from tasks_app.models import FailureReason, Task

#: Failed tasks that are read, the latest.
MAX_FAILED_READ = 10_000


@dataclass(frozen=True)
class Share:
    """Tasks that ended within the last `seconds`, without cancelled ones."""

    failed: int
    ended: int
    seconds: float


def failed_shares() -> dict[str, Share]:
    """By handler. Looks back five minutes, or less if many attempts have ended. Raises DatabaseError.

    A completed task has exactly one attempt that succeeded.
    """
    rates = recent_rates()
    late = Task.objects.failed().filter(completed_at__gte=Now() - timedelta(seconds=rates.seconds))
    latest = late.exclude(failure_reason=FailureReason.CANCELLED).order_by("-completed_at").values("pk")
    among = Task.objects.filter(pk__in=latest[:MAX_FAILED_READ]).order_by()
    failed = dict(among.values_list("task_type").annotate(count=Count("pk")))
    return {
        name: Share(failed.get(name, 0), failed.get(name, 0) + rates.succeeded.get(name, 0), rates.seconds)
        for name in {*failed, *rates.succeeded}
    }
