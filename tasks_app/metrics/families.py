"""A reading as Prometheus metric families. docs/metrics.md explains every metric."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from tasks_app import conf
from tasks_app.metrics.problems import problems
from tasks_app.metrics.reading import Distribution, Labels
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.queue.counters import BUCKETS
from tasks_app.queue.current import store

Values = Iterable[tuple[Labels, float]]


def families(reading: SystemReading) -> Iterator[Metric]:
    """Every metric of the system."""
    yield from _system_families(reading)
    yield from _handler_families(reading)
    yield from _process_families(reading)
    yield from health(reading.healthy, len(problems(reading)))


def health(healthy: bool, problem_count: int) -> Iterator[Metric]:
    """The metrics that need no database."""
    yield _gauge("daemon_health", "1 while the database answers and a worker lives.", (), [((), int(healthy))])
    yield _gauge("daemon_problems", "Number of problems that /health lists.", (), [((), problem_count)])
    yield _gauge(
        "taskdaemon_build_info",
        "Always 1; the labels have the versions.",
        tuple(build()),
        [(tuple(build().values()), 1)],
    )


@cache
def build() -> Mapping[str, str]:
    """The versions of what runs in this process."""
    return {
        "version": conf.version(),
        "python": platform.python_version(),
        "django": version("django"),
        "celery": version("celery"),
        "database": store().name,
    }


def _system_families(reading: SystemReading) -> Iterator[Metric]:
    totals = reading.totals
    yield _counter("tasks_received", "Tasks accepted.", (), [((), totals.sum("received"))])
    processed = {("success",): totals.sum("completed"), ("failed",): totals.sum("failed")}
    yield _counter(
        "tasks_processed", "Number of times that a task reached a final state.", ("status",), processed.items()
    )
    yield _gauge("queue_size", "Pending tasks.", (), [((), reading.queue_size)])
    yield _gauge(
        "tasks_unaccounted", "Tasks received less those stored and deleted; not 0 if rows were changed by hand.",
        (), [((), reading.unaccounted)],
    )  # fmt: skip
    yield _gauge("metrics_age_seconds", "Age of these numbers.", (), [((), round(reading.age, 3))])
    draining = sum(not node.taking for node in reading.nodes)
    yield _gauge("nodes_alive", "Living worker processes.", (), [((), len(reading.nodes))])
    yield _gauge("nodes_draining", "Living worker processes that take no more tasks.", (), [((), draining)])
    yield _gauge(
        "taskdaemon_node_info",
        "Always 1; the version of the platform that a living worker process runs.",
        ("node", "version"),
        [((node.name, node.version or "unknown"), 1) for node in reading.nodes],
    )
    yield _gauge(
        "nodes_without_engine",
        "Living worker processes that cannot reach their container engine.",
        (),
        [((), len(reading.without_engine))],
    )


def _handler_families(reading: SystemReading) -> Iterator[Metric]:
    totals, handlers = reading.totals, reading.handlers
    each = tuple(handlers)
    label = ("handler",)

    def summed(name: str) -> Values:
        return [((handler,), totals.sum(name, handler)) for handler in each]

    yield _gauge(
        "container_pool_active",
        "Containers that run a task.",
        label,
        [((h,), one.active) for h, one in handlers.items()],
    )
    yield _gauge(
        "container_pool_idle",
        "Warm containers without a task.",
        label,
        [((h,), one.idle) for h, one in handlers.items()],
    )
    yield _gauge(
        "container_pool_slots", "Slots for containers.", label, [((h,), one.slots) for h, one in handlers.items()]
    )
    yield _gauge(
        "handler_paused",
        "1 while no task of the type is started, because an operator has paused it.",
        label,
        [((h,), int(one.paused is not None)) for h, one in handlers.items()],
    )
    yield _gauge(
        "handler_without_engine",
        "1 while the type has no container because a container engine cannot be reached.",
        label,
        [((h,), int(one.lacks_engine)) for h, one in handlers.items()],
    )
    stored = [((h, status), count) for h in each for status, count in reading.stored(h).items()]
    yield _gauge("tasks_stored", "Stored tasks.", ("handler", "status"), stored)
    oldest = [((h,), round(one.oldest, 3)) for h, one in handlers.items()]
    yield _gauge("task_oldest_ready_seconds", "How long the oldest ready task has been ready.", label, oldest)
    yield _counter("handler_tasks_received", "Tasks accepted.", label, summed("received"))
    ended = [
        ((h, word), totals.sum(name, h))
        for h in each
        for word, name in (("success", "completed"), ("failed", "failed"))
    ]
    yield _counter(
        "handler_tasks_processed", "Number of times that a task reached a final state.", ("handler", "status"), ended
    )
    yield _counter(
        "task_failures",
        "Number of times that a task failed for good.",
        ("handler", "reason"),
        totals.by("failed").items(),
    )
    yield _counter("task_attempts", "Attempts that ended.", ("handler", "outcome"), totals.by("attempts").items())
    yield _counter("task_retries", "Attempts that were retried.", label, summed("retried"))
    yield _counter("task_redrives", "Failed tasks that were redriven.", label, summed("redriven"))
    released = [((h,), totals.summed("attempts", h).get("released", 0)) for h in each]
    yield _counter("task_releases", "Attempts released without spending a retry.", label, released)
    yield _counter("task_leases_lost", "Attempts rescued from a lost worker.", label, summed("leases_lost"))
    yield _counter(
        "task_results_stale", "Results dropped because the attempt was no longer current.", label, summed("stale")
    )
    yield _counter(
        "tasks_overlooked",
        "Ready tasks that claims skipped for some seconds; not 0 if rows were changed by hand.",
        label,
        summed("overlooked"),
    )
    yield _counter(
        "tasks_deleted", "Tasks deleted, by their last status.", ("handler", "status"), totals.by("deleted").items()
    )
    yield _counter(
        "tasks_removed_by_retention",
        "Tasks removed because they were kept long enough; deleted ones include them.",
        ("handler", "status"),
        totals.by("retention").items(),
    )
    by_outcome = ("handler", "outcome")
    yield _histogram("task_processing_seconds", "Time that the handler took.", by_outcome, totals.distributions("run"))
    yield _histogram("task_wait_seconds", "Time from ready to claimed.", by_outcome, totals.distributions("wait"))
    yield _histogram(
        "task_overhead_seconds",
        "Time from claim to settle, less the handler's.",
        by_outcome,
        totals.distributions("over"),
    )
    yield _counter("container_starts", "Containers started.", label, summed("container_starts"))
    yield _counter(
        "container_deaths",
        "Containers that ended, by reason.",
        ("handler", "reason"),
        totals.by("container_deaths").items(),
    )
    yield from _notification_counter(
        "received", "heard", "Notifications that nodes received.", label, summed("bells_heard")
    )


def _process_families(reading: SystemReading) -> Iterator[Metric]:
    totals = reading.totals
    sent = [((), totals.sum("bells", "rung"))]
    yield from _notification_counter("sent", "rung", "Notifications that the broker took.", (), sent)
    unsent = [((why,), totals.sum("bells", why)) for why in ("merged", "skipped", "dropped")]
    yield from _notification_counter("unsent", "unsent", "Notifications merged, skipped or dropped.", ("why",), unsent)
    failed = [((), totals.sum("bells_failed"))]
    yield from _notification_counter(
        "failed", "failed", "Rounds of notifications that the broker did not take.", (), failed
    )
    yield _counter("task_waits_begun", "Requests that began to wait for a task.", (), [((), totals.sum("waits_begun"))])
    ended = [((how,), totals.sum("waits_ended", how)) for how in ("ended", "timed_out", "gone", "stopped", "key")]
    yield _counter("task_waits_ended", "Requests that no longer wait for a task.", ("how",), ended)
    begun = [((), totals.sum("streams_begun"))]
    yield _counter("task_streams_begun", "Event streams of tasks that were opened.", (), begun)
    ways = ("ended", "gone", "stopped", "key", "stalled", "failed")
    ended = [((how,), totals.sum("streams_ended", how)) for how in ways]
    yield _counter("task_streams_ended", "Event streams of tasks that are over.", ("how",), ended)
    yield _counter(
        "django_http_responses_total_by_status_view_method", "Responses.", ("status", "view", "method"),
        totals.by("http").items(),
    )  # fmt: skip
    yield _histogram(
        "django_http_requests_latency_seconds_by_view_method", "Time to answer, with all middleware.",
        ("status", "view", "method"), totals.distributions("http_seconds"),
    )  # fmt: skip


def _notification_counter(name: str, old: str, what: str, labels: Labels, values: Values) -> Iterator[Metric]:
    """`notifications_*`, and its name of the version before as an alias; drop the alias in the next version."""
    values = list(values)
    yield _counter(f"notifications_{name}", what, labels, values)
    alias = f"Alias of notifications_{name}_total; will be removed in the next version."
    yield _counter(f"bells_{old}", alias, labels, values)


def _counter(name: str, what: str, labels: Labels, values: Values) -> Metric:
    family = CounterMetricFamily(name, what, labels=labels)
    return _fill(family, labels, values)


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
    for key, one in values.items():
        if len(key) != len(labels):
            continue
        running, buckets = 0, []
        for bound, count in zip(bounds, one.buckets, strict=True):
            running += count
            buckets.append((bound, running))
        family.add_metric(key, buckets, one.sum)
    return family


# A reading as Prometheus text.

#: The version of the text format that every scraper supports.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        yield from self._collect()


def text(reading: SystemReading | None) -> bytes:
    """Prometheus' text format. None, if the database cannot be read: only the metrics that need no database."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(lambda: health(False, 1) if reading is None else families(reading)))
    return generate_latest(registry)
