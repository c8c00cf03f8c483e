"""The families of /metrics. A module of its own: a node reads `waiting`, and need not load the Prometheus client."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tasks_app.features.callbacks.metrics import Waiting
from tasks_app.metrics.system_reading import SystemReading


def families(reading: SystemReading) -> Iterator[Metric]:
    """Tries by what came of them, and what waits."""
    what = (
        "Tries to send callbacks, by what came of them: delivered, again (another try follows), failed (the last one)."
    )
    tries = CounterMetricFamily("callback_tries", what, labels=("outcome",))
    for outcome in ("delivered", "again", "failed"):
        tries.add_metric((outcome,), reading.totals.sum("callback_tries", outcome))
    yield tries
    what = "Pending callbacks that failed without a further try: by their age (7 days), or by an operator."
    given_up = CounterMetricFamily("callbacks_given_up", what, labels=("by",))
    for by in ("age", "operator"):
        given_up.add_metric((by,), reading.totals.sum("callbacks_given_up", by))
    yield given_up
    waits: Waiting = reading.read.get("callbacks", Waiting(0, 0.0))
    yield GaugeMetricFamily("callbacks_pending", "Callbacks that are to be sent, or tried again.", waits.pending)
    late = "For how long the callback that is due first has been due. 0: none is due."
    yield GaugeMetricFamily("callbacks_late_seconds", late, waits.late)
