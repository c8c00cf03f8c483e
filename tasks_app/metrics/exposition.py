"""The figures as Prometheus text, and as the JSON summary."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from tasks_app.metrics.counters import BUCKETS
from tasks_app.metrics.figures import Figures

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Collector:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from families(self._figures)


def text(figures: Figures) -> bytes:
    """Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(figures))
    return generate_latest(registry)


def by(figures: Figures, name: str) -> Iterator[tuple[list[str], int]]:
    """The counters of a name, as (labels, value)."""
    for series, value in sorted(figures.totals.items()):
        first, *labels = series.split("|")
        if first == name:
            yield labels, value


def total(figures: Figures, name: str) -> int:
    """A counter over all its labels."""
    return sum(value for _, value in by(figures, name))


def families(figures: Figures) -> Iterator[Metric]:
    """Every metric of the system."""
    yield CounterMetricFamily("tasks_received", "Tasks accepted.", value=total(figures, "received"))
    processed = CounterMetricFamily("tasks_processed", "Tasks that reached a final state.", labels=["status"])
    processed.add_metric(["success"], total(figures, "completed"))
    processed.add_metric(["failed"], total(figures, "failed"))
    yield processed
    yield GaugeMetricFamily("queue_size", "Tasks waiting.", value=figures.queue_size)
    active = GaugeMetricFamily("container_pool_active", "Containers at work.", labels=["handler"])
    idle = GaugeMetricFamily("container_pool_idle", "Warm containers that wait for work.", labels=["handler"])
    for name, one in sorted(figures.handlers.items()):
        active.add_metric([name], one.active)
        idle.add_metric([name], one.idle)
    yield active
    yield idle
    yield GaugeMetricFamily("daemon_health", "1 while a worker lives and the database answers.", value=1 if figures.nodes else 0)
    yield _histogram(figures, "run", "task_processing_seconds", "Time the handler had the task.", ["handler", "outcome"])


def _histogram(figures: Figures, name: str, metric: str, what: str, labels: list[str]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric, what, labels=labels)
    counts: dict[tuple[str, ...], Tally[str]] = {}
    for parts, value in by(figures, name):
        counts.setdefault(tuple(parts[:-1]), Tally())[parts[-1]] = value
    for key, seen in sorted(counts.items()):
        running, buckets = 0, []
        for index in range(len(BUCKETS) + 1):
            running += seen[f"le{index}"]
            buckets.append(("+Inf" if index == len(BUCKETS) else str(BUCKETS[index]), running))
        family.add_metric(list(key), buckets, seen["us"] / 1e6)
    return family


def summary(figures: Figures) -> dict[str, Any]:
    """The JSON of /api/metrics."""
    succeeded = {labels[0]: value for labels, value in by(figures, "completed")}
    received = {labels[0]: value for labels, value in by(figures, "received")}
    failed: Tally[str] = Tally()
    for labels, value in by(figures, "failed"):
        failed[labels[0]] += value
    return {
        "tasks_received": total(figures, "received"),
        "tasks_processed_success": total(figures, "completed"),
        "tasks_processed_failed": total(figures, "failed"),
        "queue_size": figures.queue_size,
        "daemon_healthy": bool(figures.nodes),
        "handlers": {
            name: {
                "received": received.get(name, 0),
                "success": succeeded.get(name, 0),
                "failed": failed[name],
                "pending": one.pending,
                "slots": one.slots,
                "active": one.active,
                "idle": one.idle,
                "problems": list(one.problems),
            }
            for name, one in sorted(figures.handlers.items())
        },
    }
