"""Counts requests, with django-prometheus' middleware and under its names, into counters that all processes share.

Its own metric objects live in the memory of one process: they would tell of the process that happened to answer, and
begin anew at every restart. So they are exchanged for ones that add to this process's tally.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, resolve
from django_prometheus.middleware import Metrics, PrometheusBeforeMiddleware

from tasks_app.metrics.tally import process

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PATCH"})


class _Counted:
    """Stands for a metric of django-prometheus; `series` is what its values are kept under, None if nothing is."""

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
    """django-prometheus' metrics, of which two are kept: the others can be summed up from them."""

    KEPT = {
        "django_http_responses_total_by_status_view_method": "http",
        "django_http_requests_latency_seconds_by_view_method": "http_seconds",
    }
    _instance = None

    def register_metric(
        self, metric_cls: Any, name: str, documentation: str, labelnames: Any = (), **kwargs: Any
    ) -> Any:
        return _Counted(self.KEPT.get(name))


class Meter(PrometheusBeforeMiddleware):
    """Outermost, so that what other middleware refuses is counted too. Costs some microseconds a request."""

    metrics_cls = SharedMetrics

    def process_request(self, request: HttpRequest) -> None:
        request.metered_from = perf_counter()  # type: ignore[attr-defined]

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        # Never the path: whoever asks for random ones would fill the database with their counters.
        labels = {
            "status": str(response.status_code),
            "view": _view(request),
            "method": request.method if request.method in METHODS else "other",
        }
        self.metrics.responses_by_status_view_method.labels(**labels).inc()
        took = perf_counter() - request.metered_from  # type: ignore[attr-defined]
        self.metrics.requests_latency_by_view_method.labels(**labels).observe(took)
        return response


def _view(request: HttpRequest) -> str:
    """The name of the route, `static`, or `unknown` where there is none."""
    match = request.resolver_match
    if match is None:  # refused or answered before it got to a view
        if request.path_info.startswith(settings.STATIC_URL):
            return "static"
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return "unknown"
    return match.view_name if match.url_name else "unnamed"
