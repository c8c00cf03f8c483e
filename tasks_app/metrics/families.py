"""A reading for monitoring: as Prometheus' text, and its main numbers as JSON. docs/metrics.md explains them all."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from tasks_app import conf
from tasks_app.feature import registered
from tasks_app.metrics.problems import problems
from tasks_app.metrics.reading import Distribution, HandlerReading, Labels, Totals
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.queue.counters import BUCKETS
from tasks_app.queue.current import store

Values = Iterable[tuple[Labels, float]]
#: The version of the text format that every scraper supports.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def families(reading: SystemReading) -> Iterator[Metric]:
    """Every metric of the system."""
    yield from _system_families(reading)
    yield from _handler_families(reading)
    yield from _process_families(reading.totals)
    for further in registered("families"):
        yield from further(reading)
    yield from health(reading.healthy, len(problems(reading)))


def health(healthy: bool, problem_count: int) -> Iterator[Metric]:
    """The metrics that need no database."""
    yield _gauge("daemon_health", "1 while the database answers and a worker lives.", (), _single(healthy))
    yield _gauge("daemon_problems", "Number of problems that /health lists.", (), _single(problem_count))
    labels, values = tuple(build()), tuple(build().values())
    yield _gauge("taskdaemon_build_info", "Always 1; the labels have the versions.", labels, [(values, 1)])


@cache
def build() -> Mapping[str, str]:
    """The versions of the software in this process."""
    return {
        "version": conf.version(),
        "python": platform.python_version(),
        "django": version("django"),
        "celery": version("celery"),
        "database": store().name,
    }


def _system_families(reading: SystemReading) -> Iterator[Metric]:
    totals, nodes = reading.totals, reading.nodes
    processed = {("success",): totals.sum("completed"), ("failed",): totals.sum("failed")}.items()
    yield _counter("tasks_received", "Tasks accepted.", (), _single(totals.sum("received")))
    yield _counter("tasks_processed", "Number of times that a task reached a final state.", ("status",), processed)
    yield _gauge("queue_size", "Pending tasks.", (), _single(reading.queue_size))
    what = "Tasks received less those stored and deleted; not 0 if rows were changed by hand."
    yield _gauge("tasks_unaccounted", what, (), _single(reading.unaccounted))
    yield _gauge("metrics_age_seconds", "Age of these numbers.", (), _single(round(reading.age, 3)))
    yield _gauge("nodes_alive", "Living worker processes.", (), _single(len(nodes)))
    draining = sum(not node.taking for node in nodes)
    yield _gauge("nodes_draining", "Living worker processes that take no more tasks.", (), _single(draining))
    what = "Always 1; the version of the platform that a living worker process runs."
    versions = [((node.name, node.version or "unknown"), 1) for node in nodes]
    yield _gauge("taskdaemon_node_info", what, ("node", "version"), versions)
    what = "Living processes that use this revision of handlers.toml."
    revisions = Counter((each.kind, each.used.revision or "unknown") for each in reading.processes)
    yield _gauge("handlers_revision_processes", what, ("kind", "revision"), revisions.items())
    what = "Living worker processes that cannot reach their container engine."
    yield _gauge("nodes_without_engine", what, (), _single(len(reading.without_engine)))


def _handler_families(reading: SystemReading) -> Iterator[Metric]:
    totals, handlers = reading.totals, reading.handlers

    def gauge(name: str, what: str, value: Callable[[HandlerReading], float]) -> Metric:
        return _gauge(name, what, ("handler",), [((handler,), value(read)) for handler, read in handlers.items()])

    def summed(series: str) -> Values:
        return [((handler,), totals.sum(series, handler)) for handler in handlers]

    def counter(name: str, what: str, series: str) -> Metric:
        return _counter(name, what, ("handler",), summed(series))

    def counter_by(label: str, name: str, what: str, series: str) -> Metric:
        return _counter(name, what, ("handler", label), totals.by(series).items())

    def histogram(name: str, what: str, series: str) -> Metric:
        return _histogram(name, what, ("handler", "outcome"), totals.distributions(series))

    yield gauge("container_pool_active", "Containers that run a task.", lambda read: read.active)
    yield gauge("container_pool_idle", "Warm containers without a task.", lambda read: read.idle)
    yield gauge("container_pool_slots", "Slots for containers.", lambda read: read.slots)
    what = "1 while no task of the type is started, because an operator has paused it."
    yield gauge("handler_paused", what, lambda read: read.paused is not None)
    what = "Living worker processes that serve the type and take none of its tasks: they end, or are drained."
    yield gauge("handler_nodes_draining", what, lambda read: read.draining)
    what = "1 while the type has no container because a container engine cannot be reached."
    yield gauge("handler_without_engine", what, lambda read: read.lacks_engine)
    stored = [((handler, status), count) for handler in handlers for status, count in reading.stored(handler).items()]
    yield _gauge("tasks_stored", "Stored tasks.", ("handler", "status"), stored)
    yield gauge("tasks_held", "Pending tasks that a limit or a predecessor holds back.", lambda read: read.held)
    what = "How long the oldest ready task has been ready."
    yield gauge("task_oldest_ready_seconds", what, lambda read: round(read.oldest, 3))
    yield counter("handler_tasks_received", "Tasks accepted.", "received")
    ends = (("success", "completed"), ("failed", "failed"))
    ended = [((handler, word), totals.sum(series, handler)) for handler in handlers for word, series in ends]
    what = "Number of times that a task reached a final state."
    yield _counter("handler_tasks_processed", what, ("handler", "status"), ended)
    yield counter_by("reason", "task_failures", "Number of times that a task failed for good.", "failed")
    yield counter_by("outcome", "task_attempts", "Attempts that ended.", "attempts")
    yield counter("task_retries", "Attempts that were retried.", "retried")
    yield counter("task_redrives", "Failed tasks that were redriven.", "redriven")
    released = [((handler,), totals.summed("attempts", handler).get("released", 0)) for handler in handlers]
    yield _counter("task_releases", "Attempts released without spending a retry.", ("handler",), released)
    yield counter("task_leases_lost", "Attempts rescued from a lost worker.", "leases_lost")
    yield counter("task_results_stale", "Results dropped because the attempt was no longer current.", "stale")
    what = "Ready tasks that claims skipped for some seconds; not 0 if rows were changed by hand."
    yield counter("tasks_overlooked", what, "overlooked")
    yield counter_by("status", "tasks_deleted", "Tasks deleted, by their last status.", "deleted")
    what = "Tasks removed because they were kept long enough; deleted ones include them."
    yield counter_by("status", "tasks_removed_by_retention", what, "retention")
    yield histogram("task_processing_seconds", "Time that the handler took.", "run")
    yield histogram("task_wait_seconds", "Time from ready to claimed.", "wait")
    yield histogram("task_overhead_seconds", "Time from claim to settle, less the handler's.", "over")
    yield counter("container_starts", "Containers started.", "container_starts")
    yield counter_by("reason", "container_deaths", "Containers that ended, by reason.", "container_deaths")
    what = "Notifications that nodes received."
    yield _counter("notifications_received", what, ("handler",), summed("bells_heard"))


def _process_families(totals: Totals) -> Iterator[Metric]:
    def counter_by(label: str, name: str, what: str, series: str, values: Iterable[str]) -> Metric:
        return _counter(name, what, (label,), [((value,), totals.sum(series, value)) for value in values])

    sent, failed = _single(totals.sum("bells", "rung")), _single(totals.sum("bells_failed"))
    unsent = [((why,), totals.sum("bells", why)) for why in ("merged", "skipped", "dropped")]
    yield _counter("notifications_sent", "Notifications that the broker took.", (), sent)
    yield _counter("notifications_unsent", "Notifications merged, skipped or dropped.", ("why",), unsent)
    yield _counter("notifications_failed", "Rounds of notifications that the broker did not take.", (), failed)
    begun = _single(totals.sum("waits_begun"))
    yield _counter("task_waits_begun", "Requests that began to wait for a task.", (), begun)
    ways: tuple[str, ...] = ("ended", "timed_out", "gone", "stopped", "key")
    yield counter_by("how", "task_waits_ended", "Requests that no longer wait for a task.", "waits_ended", ways)
    begun = _single(totals.sum("streams_begun"))
    yield _counter("task_streams_begun", "Event streams of tasks that were opened.", (), begun)
    ways = ("ended", "gone", "stopped", "key", "stalled", "failed")
    yield counter_by("how", "task_streams_ended", "Event streams of tasks that are over.", "streams_ended", ways)
    view, responses = ("status", "view", "method"), totals.by("http").items()
    yield _counter("django_http_responses_total_by_status_view_method", "Responses.", view, responses)
    name, seconds = "django_http_requests_latency_seconds_by_view_method", totals.distributions("http_seconds")
    yield _histogram(name, "Time to answer, with all middleware.", view, seconds)


def _single(value: float) -> Values:
    """The value of a metric without labels."""
    return [((), value)]


def _counter(name: str, what: str, labels: Labels, values: Values) -> Metric:
    return _fill(CounterMetricFamily(name, what, labels=labels), labels, values)


def _gauge(name: str, what: str, labels: Labels, values: Values) -> Metric:
    return _fill(GaugeMetricFamily(name, what, labels=labels), labels, values)


def _fill(family: CounterMetricFamily | GaugeMetricFamily, labels: Labels, values: Values) -> Metric:
    for key, value in values:
        if len(key) == len(labels):
            family.add_metric(key, value)
    return family


def _histogram(name: str, what: str, labels: Labels, values: Mapping[Labels, Distribution]) -> Metric:
    family = HistogramMetricFamily(name, what, labels=labels)
    bounds = [*map(str, BUCKETS), "+Inf"]
    for key, seen in values.items():
        if len(key) != len(labels):
            continue
        running, buckets = 0, []
        for bound, count in zip(bounds, seen.buckets, strict=True):
            running += count
            buckets.append((bound, running))
        family.add_metric(key, buckets, seen.sum)
    return family


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect


def text(reading: SystemReading | None) -> bytes:
    """Prometheus' text format. None, if the database cannot be read: only the metrics that need no database."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(lambda: health(False, 1) if reading is None else families(reading)))
    return generate_latest(registry)


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
        "http_responses": totals.sum("http"),
        "age_seconds": round(reading.age, 3),
        "handlers": {name: _handler(reading, name) for name in reading.handlers},
    }


def _handler(reading: SystemReading, name: str) -> dict[str, Any]:
    read, totals = reading.handlers[name], reading.totals
    attempts = totals.summed("attempts", name)
    return {
        "received": totals.sum("received", name),
        "success": totals.sum("completed", name),
        "failed": totals.sum("failed", name),
        "failures": totals.summed("failed", name),
        "deleted": totals.sum("deleted", name),
        "stored": reading.stored(name),
        "pending": read.pending,
        "held": read.held,
        "oldest_ready_seconds": round(read.oldest, 3),
        "attempts": attempts,
        "retries": totals.sum("retried", name),
        "redrives": totals.sum("redriven", name),
        "releases": attempts.get("released", 0),
        "leases_lost": totals.sum("leases_lost", name),
        "results_stale": totals.sum("stale", name),
        "slots": read.slots,
        "active": read.active,
        "idle": read.idle,
        "container_starts": totals.sum("container_starts", name),
        "container_deaths": totals.summed("container_deaths", name),
        "processing_seconds": _duration(totals, "run", name),
        "wait_seconds": _duration(totals, "wait", name),
        "overhead_seconds": _duration(totals, "over", name),
        "paused": read.paused is not None,
        "nodes_draining": read.draining,
        "problems": list(read.problems),
    }


def _duration(totals: Totals, histogram: str, name: str) -> dict[str, float]:
    """The number and sum of a handler's observations in a histogram, over all outcomes."""
    seen = totals.distributions(histogram, name).values()
    return {"count": sum(part.count for part in seen), "sum": round(sum(part.sum for part in seen), 3)}
