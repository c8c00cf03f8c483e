"""A reading as JSON: the numbers of /metrics for people and scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Count, DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from tasks_app.metrics.reading import Totals
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.queue.models import Attempt, OutcomeKind

# Durations for people.


def span(time: float | timedelta | None) -> str:
    """A duration with about two digits: `3 ms`, `1.4 s`, `12 min`, `3 d`."""
    if time is None:
        return ""
    seconds = abs(time.total_seconds() if isinstance(time, timedelta) else time)
    if seconds < 0.0005:
        return "< 1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for limit, unit, name in ((7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"


# How many attempts of each handler have ended lately, read from the attempts' rows: no task pays for it.

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


def summary(reading: SystemReading) -> dict[str, Any]:
    """The JSON of /api/metrics. Durations in seconds."""
    totals = reading.totals
    return {
        "tasks_received": totals.sum("received"),
        "tasks_processed": totals.sum("completed") + totals.sum("failed"),
        "tasks_processed_success": totals.sum("completed"),
        "tasks_processed_failed": totals.sum("failed"),
        "tasks_failed": totals.sum("failed"),
        "tasks_deleted": totals.sum("deleted"),
        "tasks_unaccounted": reading.unaccounted,
        "queue_size": reading.queue_size,
        "daemon_healthy": reading.healthy,
        "workers": len(reading.nodes),
        "nodes_alive": len(reading.nodes),
        "nodes_draining": sum(not node.taking for node in reading.nodes),
        "node_versions": {node.name: node.version for node in reading.nodes},
        "notifications_sent": totals.sum("bells", "rung"),
        "notifications_received": totals.sum("bells_heard"),
        # Aliases of the two keys above; to be removed in the next version.
        "bells_rung": totals.sum("bells", "rung"),
        "bells_heard": totals.sum("bells_heard"),
        "http_responses": totals.sum("http"),
        "age_seconds": round(reading.age, 3),
        "handlers": {name: _handler(reading, name) for name in reading.handlers},
    }


def _handler(reading: SystemReading, name: str) -> dict[str, Any]:
    one, totals = reading.handlers[name], reading.totals
    attempts = totals.summed("attempts", name)
    return {
        "received": totals.sum("received", name),
        "success": totals.sum("completed", name),
        "failed": totals.sum("failed", name),
        "failures": totals.summed("failed", name),
        "deleted": totals.sum("deleted", name),
        "stored": reading.stored(name),
        "pending": one.pending,
        "oldest_ready_seconds": round(one.oldest, 3),
        "attempts": attempts,
        "retries": totals.sum("retried", name),
        "redrives": totals.sum("redriven", name),
        "releases": attempts.get("released", 0),
        "leases_lost": totals.sum("leases_lost", name),
        "results_stale": totals.sum("stale", name),
        "slots": one.slots,
        "active": one.active,
        "idle": one.idle,
        "container_starts": totals.sum("container_starts", name),
        "container_deaths": totals.summed("container_deaths", name),
        "processing_seconds": _duration(totals, "run", name),
        "wait_seconds": _duration(totals, "wait", name),
        "overhead_seconds": _duration(totals, "over", name),
        "paused": one.paused is not None,
        "problems": list(one.problems),
    }


def _duration(totals: Totals, histogram: str, name: str) -> dict[str, float]:
    """The number and sum of a handler's observations in a histogram, over all outcomes."""
    found = totals.distributions(histogram, name).values()
    return {"count": sum(one.count for one in found), "sum": round(sum(one.sum for one in found), 6)}
