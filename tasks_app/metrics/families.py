"""The figures as Prometheus' metric families. Every metric here is explained in docs/metrics.md."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version

from django.conf import settings
from django.db import connection
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tasks_app.metrics.counters import BUCKETS
from tasks_app.metrics.figures import Figures
from tasks_app.metrics.problems import problems
from tasks_app.metrics.totals import Distribution, Labels

Values = Iterable[tuple[Labels, float]]


def families(figures: Figures) -> Iterator[Metric]:
    """Every metric of the system."""
    yield from _whole(figures)
    yield from _of_handlers(figures)
    yield from _of_processes(figures)
    yield from health(bool(figures.nodes), len(problems(figures)))


def health(healthy: bool, wrong: int) -> Iterator[Metric]:
    """What can be said without a database too."""
    yield _gauge("daemon_health", "1 while a worker lives and the database answers.", (), [((), int(healthy))])
    yield _gauge("daemon_problems", "What /health lists as problems now.", (), [((), wrong)])
    yield _gauge(
        "taskdaemon_build_info", "Always 1; the labels say what runs.", tuple(build()), [(tuple(build().values()), 1)]
    )


@cache
def build() -> Mapping[str, str]:
    """What runs here."""
    return {
        "version": str(settings.SPECTACULAR_SETTINGS["VERSION"]),
        "python": platform.python_version(),
        "django": version("django"),
        "celery": version("celery"),
        "database": connection.vendor,
    }


def _whole(figures: Figures) -> Iterator[Metric]:
    totals = figures.totals
    yield _counter("tasks_received", "Tasks accepted.", (), [((), totals.sum("received"))])
    processed = {("success",): totals.sum("completed"), ("failed",): totals.sum("failed")}
    yield _counter("tasks_processed", "Times that a task reached a final state.", ("status",), processed.items())
    yield _gauge("queue_size", "Tasks that are pending.", (), [((), figures.queue_size)])
    yield _gauge(
        "tasks_unaccounted", "Tasks received less those stored and deleted: not 0 if rows were changed by hand.",
        (), [((), figures.unaccounted)],
    )  # fmt: skip
    draining = sum(node.draining for node in figures.nodes)
    yield _gauge("nodes_alive", "Worker processes that live.", (), [((), len(figures.nodes))])
    yield _gauge("nodes_draining", "Of those that live, the ones that take no more tasks.", (), [((), draining)])


def _of_handlers(figures: Figures) -> Iterator[Metric]:
    totals, handlers = figures.totals, figures.handlers
    each = tuple(handlers)
    label = ("handler",)

    def summed(name: str) -> Values:
        return [((handler,), totals.sum(name, handler)) for handler in each]

    yield _gauge(
        "container_pool_active", "Containers at work.", label, [((h,), one.active) for h, one in handlers.items()]
    )
    yield _gauge(
        "container_pool_idle",
        "Warm containers that wait for work.",
        label,
        [((h,), one.idle) for h, one in handlers.items()],
    )
    yield _gauge(
        "container_pool_slots", "Seats for containers.", label, [((h,), one.slots) for h, one in handlers.items()]
    )
    stored = [((h, status), count) for h in each for status, count in figures.stored(h).items()]
    yield _gauge("tasks_stored", "Tasks that are there now.", ("handler", "status"), stored)
    oldest = [((h,), round(one.oldest, 3)) for h, one in handlers.items()]
    yield _gauge("task_oldest_ready_seconds", "For how long the oldest ready task has been ready.", label, oldest)
    yield _counter("handler_tasks_received", "Tasks accepted.", label, summed("received"))
    ended = [
        ((h, word), totals.sum(name, h))
        for h in each
        for word, name in (("success", "completed"), ("failed", "failed"))
    ]
    yield _counter("handler_tasks_processed", "Times that a task reached a final state.", ("handler", "status"), ended)
    yield _counter(
        "task_failures", "Times that a task failed for good.", ("handler", "reason"), totals.by("failed").items()
    )
    yield _counter("task_attempts", "Attempts that ended.", ("handler", "outcome"), totals.by("attempts").items())
    yield _counter("task_retries", "Attempts after which another one followed.", label, summed("retried"))
    yield _counter("task_redrives", "Failed tasks that were given another life.", label, summed("redriven"))
    released = [((h,), totals.summed("attempts", h).get("released", 0)) for h in each]
    yield _counter("task_releases", "Attempts given back without spending a retry.", label, released)
    yield _counter("task_leases_lost", "Attempts taken over from a lost worker.", label, summed("leases_lost"))
    yield _counter("task_results_stale", "Results dropped: the attempt had been taken away.", label, summed("stale"))
    yield _counter(
        "tasks_deleted", "Tasks deleted, by what they were.", ("handler", "status"), totals.by("deleted").items()
    )
    by_outcome = ("handler", "outcome")
    yield _histogram(
        "task_processing_seconds", "Time the handler had the task.", by_outcome, totals.distributions("run")
    )
    yield _histogram("task_wait_seconds", "Time from ready to claimed.", by_outcome, totals.distributions("wait"))
    yield _histogram(
        "task_overhead_seconds",
        "Time from claim to settle without the handler's.",
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
    yield _counter("bells_heard", "Bells that woke a node.", label, summed("bells_heard"))


def _of_processes(figures: Figures) -> Iterator[Metric]:
    totals = figures.totals
    yield _counter("bells_rung", "Bells handed to the broker.", (), [((), totals.sum("bells", "rung"))])
    unsent = [((why,), totals.sum("bells", why)) for why in ("merged", "skipped", "dropped")]
    yield _counter("bells_unsent", "Bells not sent: others wait already, or they were dropped.", ("why",), unsent)
    yield _counter(
        "bells_failed", "Rounds of bells that the broker did not take.", (), [((), totals.sum("bells_failed"))]
    )
    yield _counter(
        "django_http_responses_total_by_status_view_method", "Responses.", ("status", "view", "method"),
        totals.by("http").items(),
    )  # fmt: skip
    yield _histogram(
        "django_http_requests_latency_seconds_by_view_method", "Time to answer, with all middleware.",
        ("status", "view", "method"), totals.distributions("http_seconds"),
    )  # fmt: skip


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
