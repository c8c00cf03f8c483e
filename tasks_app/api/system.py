"""The calls on the system: health, metrics, the front door."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError
from django.http import HttpResponse, HttpResponseRedirect
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import schema, system_schema
from tasks_app.api.tasks import API, rfc3339
from tasks_app.metrics import exposition
from tasks_app.metrics.figures import figures
from tasks_app.metrics.problems import problems
from tasks_app.metrics.summary import summary

UNAVAILABLE = OpenApiResponse(
    schema.ErrorObject, "The database cannot be reached; come back after Retry-After seconds."
)


class HealthView(API):
    """`GET /health`."""

    @extend_schema(
        operation_id="health", tags=["system"], responses={200: system_schema.Health, 503: system_schema.Health}
    )
    def get(self, request: Request) -> Response:
        """Whether tasks are accepted and run. A broken handler or broker is a problem, not a 503."""
        body: dict[str, Any] = {
            "status": "unhealthy",
            "queue_size": 0,
            "workers": 0,
            "timestamp": rfc3339(timezone.now()),
        }
        try:
            now = figures()
        except DatabaseError as error:
            body["problems"] = [_unreachable(error)]
            return Response(body, status=503)
        body |= {"queue_size": now.queue_size, "workers": len(now.nodes)}
        if now.nodes:
            body["status"] = "healthy"
        if found := problems(now):
            body["problems"] = found
        return Response(body, status=200 if now.nodes else 503)


class LiveView(API):
    """`GET /health/live`."""

    @extend_schema(operation_id="health_live", tags=["system"], responses={200: system_schema.Live})
    def get(self, request: Request) -> Response:
        """Whether this process answers; nothing else is asked, so a restart is the right answer to a failure."""
        return Response({"status": "live"})


class ReadyView(API):
    """`GET /health/ready`."""

    @extend_schema(
        operation_id="health_ready", tags=["system"], responses={200: system_schema.Ready, 503: system_schema.Ready}
    )
    def get(self, request: Request) -> Response:
        """Whether this process can accept tasks: it reaches the database, and finds its tables there."""
        try:
            figures()
        except DatabaseError as error:
            return Response({"status": "not ready", "problems": [_unreachable(error)]}, status=503)
        return Response({"status": "ready"})


class APIMetricsView(API):
    """`GET /api/metrics`."""

    @extend_schema(
        operation_id="api_metrics", tags=["system"], responses={200: system_schema.Summary, 503: UNAVAILABLE}
    )
    def get(self, request: Request) -> Response:
        """The numbers of /metrics, as JSON."""
        return Response(summary(figures()))


class MetricsView(API):
    """`GET /metrics`."""

    @extend_schema(
        operation_id="metrics",
        tags=["system"],
        responses={(200, "text/plain"): OpenApiResponse(str, "Prometheus' text format; see docs/metrics.md.")},
    )
    def get(self, request: Request) -> HttpResponse:
        """Metrics of the whole system, whichever process answers. Without a database: `daemon_health 0`."""
        try:
            now = figures()
        except DatabaseError:
            now = None
        return HttpResponse(exposition.text(now), content_type=exposition.CONTENT_TYPE)


class FrontDoor(API):
    """`GET /`."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """To the page that helps most."""
        return HttpResponseRedirect("/admin/")


metrics = MetricsView.as_view()
front_door = FrontDoor.as_view()


def _unreachable(error: DatabaseError) -> str:
    return f"the database cannot be reached: {(str(error).splitlines() or ['no reason given'])[0][:300]}"
