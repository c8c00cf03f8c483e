"""How many attempts of each handler have ended lately, read from the attempts' rows: no task pays for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import Count, DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from tasks_app.queue.models import Attempt
from tasks_app.runner.endings import OutcomeKind

#: Seconds that rates look back.
RATE_SECONDS = 300.0
#: Rows that are read for them. If more attempts have ended within that time, rates look back less far.
MAX_ATTEMPTS_READ = 10_000


@dataclass(frozen=True)
class Rates:
    """Ended attempts of stored tasks by handler, within the last `seconds`."""

    seconds: float = RATE_SECONDS
    succeeded: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)

    def per_second(self, counts: Mapping[str, int], handler: str) -> float:
        """A handler's attempts a second."""
        return round(counts.get(handler, 0) / self.seconds, 6)


def recent_rates() -> Rates:
    """The rates of the last five minutes. Attempts that were released or cancelled do not count.

    Raises DatabaseError.
    """
    last = Attempt.objects.order_by("-pk").values_list("pk", flat=True).first()
    if last is None:
        return Rates()
    # A primary key's order is that of the ends, so the newest rows are the ones that ended last.
    first = last - MAX_ATTEMPTS_READ
    age = ExpressionWrapper(Now() - F("ended_at"), output_field=DurationField())
    before = Attempt.objects.filter(pk__lte=first).order_by("-pk").values_list(age, flat=True).first()
    seconds = RATE_SECONDS if before is None else min(max(before.total_seconds(), 1.0), RATE_SECONDS)
    ended = (
        Attempt.objects.filter(pk__gt=first, ended_at__gte=Now() - timedelta(seconds=RATE_SECONDS))
        .exclude(outcome__in=(OutcomeKind.RELEASED, OutcomeKind.CANCELLED))
        .values_list("task__task_type", "outcome")
        .annotate(count=Count("pk"))
        .order_by()
    )
    succeeded: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for name, outcome, count in ended:
        (succeeded if outcome == OutcomeKind.SUCCESS else failed)[name] += count
    return Rates(seconds, succeeded, failed)
