"""The calls on the system: health, metrics, the front door."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.tasks import API, rfc3339
from tasks_app.metrics import exposition, figures


class HealthView(API):
    """`GET /health`."""

    @extend_schema(operation_id="health", tags=["system"], responses={200: OpenApiTypes.OBJECT, 503: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """Whether tasks are accepted and run. A broken handler or broker is a problem, not a 503."""
        body: dict[str, Any] = {"status": "unhealthy", "queue_size": 0, "workers": 0, "timestamp": rfc3339(timezone.now())}
        try:
            now = figures.figures()
        except DatabaseError as error:
            body["problems"] = [f"the database cannot be reached: {str(error).splitlines()[0]}"]
            return Response(body, status=503)
        body |= {"queue_size": now.queue_size, "workers": len(now.nodes)}
        if now.nodes:
            body["status"] = "healthy"
        if problems := now.problems:
            body["problems"] = problems
        return Response(body, status=200 if now.nodes else 503)


class LiveView(API):
    """`GET /health/live`."""

    @extend_schema(operation_id="health_live", tags=["system"], responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """Whether this process answers."""
        return Response({"status": "live"})


class ReadyView(API):
    """`GET /health/ready`."""

    @extend_schema(operation_id="health_ready", tags=["system"], responses={200: OpenApiTypes.OBJECT, 503: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """Whether this process can accept tasks: it reaches the database."""
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except DatabaseError:
            return Response({"status": "not ready", "problems": ["the database cannot be reached"]}, status=503)
        return Response({"status": "ready"})


class APIMetricsView(API):
    """`GET /api/metrics`."""

    @extend_schema(operation_id="api_metrics", tags=["system"], responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """The numbers of /metrics that people ask for most, as JSON."""
        return Response(exposition.summary(figures.figures()))


def metrics(request: HttpRequest) -> HttpResponse:
    """`GET /metrics`: Prometheus text, true for the whole system whichever process answers."""
    return HttpResponse(exposition.text(figures.figures()), content_type=exposition.CONTENT_TYPE)


def front_door(request: HttpRequest) -> HttpResponse:
    """`GET /`: the page that helps most."""
    return HttpResponseRedirect("/docs")
