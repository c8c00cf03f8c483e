"""What /metrics says of schedules."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from tasks_app.metrics.system_reading import SystemReading


def families(reading: SystemReading) -> Iterator[Metric]:
    """What became of ticks."""
    what = "Ticks of schedules and runs by hand, by what became of them: made, skipped, refused or missed."
    family = CounterMetricFamily("schedule_firings", what, labels=("schedule", "outcome"))
    for labels, count in reading.totals.by("schedule_firings").items():
        if len(labels) == 2:
            family.add_metric(labels, count)
    yield family
