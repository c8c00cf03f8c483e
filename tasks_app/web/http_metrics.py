"""Counts requests with django-prometheus' middleware, under its names, for the whole system.

Its own metric objects count only for one process and start at 0 with it. They are replaced by ones that add to the
local counters, which reach the database.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, resolve
from django_prometheus.middleware import Metrics, PrometheusBeforeMiddleware

from tasks_app.api.waiting import VARIABLE
from tasks_app.metrics.local_counters import process

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PATCH"})


class _Counted:
    """Replaces a metric of django-prometheus. Its values go to the counters `series`; None drops them."""

    def __init__(self, series: str | None, labels: str = "") -> None:
        self._series, self._labels = series, labels

    def labels(self, **labels: str) -> _Counted:
        return _Counted(self._series, "|".join(labels.values()))

    def inc(self) -> None:
        if self._series is not None:
            process.add(f"{self._series}|{self._labels}")

    def observe(self, seconds: float) -> None:
        if self._series is not None:
            process.observe(self._series, self._labels, seconds)


class SharedMetrics(Metrics):
    """The two of django-prometheus' metrics from which the others can be computed."""

    KEPT = {
        "django_http_responses_total_by_status_view_method": "http",
        "django_http_requests_latency_seconds_by_view_method": "http_seconds",
    }
    _instance = None

    def register_metric(
        self, metric_cls: Any, name: str, documentation: str, labelnames: Any = (), **kwargs: Any
    ) -> Any:
        return _Counted(self.KEPT.get(name))


class HttpMetrics(PrometheusBeforeMiddleware):
    """The outermost middleware, so that it also counts what other middleware refuses."""

    metrics_cls = SharedMetrics

    def process_request(self, request: HttpRequest) -> None:
        request.started_at = perf_counter()  # type: ignore[attr-defined]

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if (deferred := request.META.get(VARIABLE)) is not None and deferred.wait is not None:
            return response  # counted when its wait ends
        # Never the path or any method: random ones would fill the database with counters.
        labels = {
            "status": str(response.status_code),
            "view": _view(request),
            "method": request.method if request.method in METHODS else "other",
        }
        self.metrics.responses_by_status_view_method.labels(**labels).inc()
        seconds = perf_counter() - request.started_at  # type: ignore[attr-defined]
        self.metrics.requests_latency_by_view_method.labels(**labels).observe(seconds)
        return response


def _view(request: HttpRequest) -> str:
    """The name of the route, `static`, or `unknown` if there is none."""
    match = request.resolver_match
    if match is None:  # middleware answered
        if request.path_info.startswith(settings.STATIC_URL):
            return "static"
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return "unknown"
    return match.view_name if match.url_name else "unnamed"
