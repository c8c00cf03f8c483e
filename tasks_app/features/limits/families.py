"""The families of /metrics. A module of its own: a node reads `limited`, and need not load the Prometheus client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from tasks_app.features.limits.metrics import Limited
from tasks_app.metrics.system_reading import SystemReading


def families(reading: SystemReading) -> Iterator[Metric]:
    """The limits of handlers that have `max_running` or `rate`, and what is used of them."""
    read: Mapping[str, Limited] = reading.read.get("limits", {})
    most = GaugeMetricFamily(
        "handler_max_running", "How many tasks may run at once (max_running).", labels=("handler",)
    )
    used = GaugeMetricFamily("handler_running_permits", "How many of them run, or end.", labels=("handler",))
    what = "For how long the rate lets no task start. 0: one may start."
    wait = GaugeMetricFamily("handler_rate_wait_seconds", what, labels=("handler",))
    for name, limited in sorted(read.items()):
        if limited.max_running is not None:
            most.add_metric((name,), limited.max_running)
            used.add_metric((name,), limited.permits)
        if limited.wait is not None:
            wait.add_metric((name,), round(limited.wait, 3))
    yield from (most, used, wait)
