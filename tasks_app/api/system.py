"""The calls on the system: health, metrics, the root address."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError
from django.http import HttpResponse, HttpResponseRedirect
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import admission, schema
from tasks_app.api.errors import NotFound, Stopping, no_such_page
from tasks_app.api.view import API, PublicAPI
from tasks_app.metrics import families
from tasks_app.metrics.problems import problems
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.current import store
from tasks_app.queue.models import Status
from tasks_app.rights import SEE_METRICS, needs

# The shapes of the answers about the system, for the OpenAPI document.


class Health(serializers.Serializer):
    """Tells whether tasks are accepted and run."""

    status = serializers.ChoiceField(choices=["healthy", "unhealthy"])
    queue_size = serializers.IntegerField(min_value=0, help_text="Pending tasks.")
    workers = serializers.IntegerField(min_value=0, help_text="Living worker processes.")
    timestamp = serializers.DateTimeField()
    problems = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="What is wrong, in sentences; absent if nothing is."
    )


class Live(serializers.Serializer):
    """This process answers."""

    status = serializers.ChoiceField(choices=["live"])


class Ready(serializers.Serializer):
    """Tells whether this process accepts tasks."""

    status = serializers.ChoiceField(choices=["ready", "not ready"])
    problems = serializers.ListField(child=serializers.CharField(), required=False)


def _integers(count: int) -> list[serializers.IntegerField]:
    return [serializers.IntegerField() for _ in range(count)]


class Times(serializers.Serializer):
    """The number and sum of a histogram's observations, in seconds."""

    count = serializers.IntegerField()
    sum = serializers.FloatField()


class HandlerSummary(serializers.Serializer):
    """The numbers of one handler."""

    received, success, failed = _integers(3)
    failures = schema.numbers(help_text="Failed tasks, by reason.")
    deleted = serializers.IntegerField()
    stored = schema.numbers(help_text=f"Stored tasks, by status: {', '.join(Status.values)}.")
    pending = serializers.IntegerField()
    held = serializers.IntegerField()
    oldest_ready_seconds = serializers.FloatField()
    attempts = schema.numbers(help_text="Ended attempts, by outcome.")
    retries, redrives, releases, leases_lost, results_stale = _integers(5)
    slots, active, idle, container_starts = _integers(4)
    container_deaths = schema.numbers(help_text="Ended containers, by reason.")
    processing_seconds, wait_seconds, overhead_seconds = Times(), Times(), Times()
    paused = serializers.BooleanField()
    problems = serializers.ListField(child=serializers.CharField())


class Summary(serializers.Serializer):
    """The numbers of /metrics."""

    tasks_received, tasks_processed_success, tasks_processed_failed, tasks_deleted = _integers(4)
    tasks_unaccounted = serializers.IntegerField(help_text="Not 0 if rows were changed by hand.")
    queue_size = serializers.IntegerField()
    daemon_healthy = serializers.BooleanField()
    nodes_alive, nodes_draining = _integers(2)
    node_versions = serializers.DictField(
        child=serializers.CharField(allow_null=True),
        help_text="The version of the platform that each living worker runs; null: it does not say so.",
    )
    notifications_sent, notifications_received = _integers(2)
    http_responses = serializers.IntegerField()
    age_seconds = serializers.FloatField(min_value=0, help_text="The age of these numbers.")
    handlers = serializers.DictField(child=HandlerSummary())


class HealthView(PublicAPI):
    """`GET /health`."""

    @schema.call("health", "system", {200: Health, 503: Health}, query=None)
    def get(self, request: Request) -> Response:
        """Tell whether tasks are accepted and run. 503 if the database cannot be reached, no worker lives, or the
        first containers still start. A broken handler or broker is only listed in `problems`."""
        body: dict[str, Any] = {"status": "unhealthy", "queue_size": 0, "workers": 0, "timestamp": timezone.now()}
        try:
            reading = current_reading()
        except DatabaseError as error:
            body["problems"] = [store().advice(error)]
            return Response(body, status=503)
        body |= {"queue_size": reading.queue_size, "workers": len(reading.nodes)}
        if reading.expensive:
            body["age_seconds"] = round(reading.age, 3)
        if reading.healthy:
            body["status"] = "healthy"
        if found := problems(reading):
            body["problems"] = found
        return Response(body, status=200 if reading.healthy else 503)


class LiveView(PublicAPI):
    """`GET /health/live`."""

    @schema.call("health_live", "system", {200: Live}, query=None)
    def get(self, request: Request) -> Response:
        """Tell whether this process answers. Restart it if it does not."""
        return Response({"status": "live"})


class ReadyView(PublicAPI):
    """`GET /health/ready`."""

    @schema.call("health_ready", "system", {200: Ready, 503: Ready}, query=None)
    def get(self, request: Request) -> Response:
        """Tell whether this process accepts tasks. It reaches the database with its tables, and is not draining."""
        if admission.stopping(conf.environment()):
            return Response({"status": "not ready", "problems": [Stopping.default_detail]}, status=503)
        try:
            current_reading()
        except DatabaseError as error:
            return Response({"status": "not ready", "problems": [store().advice(error)]}, status=503)
        return Response({"status": "ready"})


class APIMetricsView(API):
    """`GET /api/metrics`."""

    scopes = needs(GET=SEE_METRICS)

    @schema.call("api_metrics", "system", {200: Summary, 503: schema.failure("The database cannot be reached.")})
    def get(self, request: Request) -> Response:
        """Read the numbers of /metrics as JSON."""
        return Response(families.summary(current_reading()))


class MetricsView(API):
    """`GET /metrics`."""

    scopes = needs(GET=SEE_METRICS)

    @schema.call(
        "metrics",
        "system",
        {(200, "text/plain"): OpenApiResponse(str, "Prometheus' text format; see docs/metrics.md.")},
        query=None,
    )
    def get(self, request: Request) -> HttpResponse:
        """Read Prometheus metrics of the whole system. Without a database: `daemon_health 0`."""
        return HttpResponse(families.text(current_reading()), content_type=families.CONTENT_TYPE)

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]
        """Answer with what needs no database if it cannot be read: the keys, or the reading."""
        if isinstance(exc, DatabaseError):
            return HttpResponse(families.text(None), content_type=families.CONTENT_TYPE)
        response: HttpResponse = super().handle_exception(exc)
        return response


class RootView(PublicAPI):
    """`GET /`."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        return HttpResponseRedirect("/admin/")


class UnknownView(API):
    """Every other address. It needs a key as calls do."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound(no_such_page(request.path, request.method))


unknown = UnknownView.as_view()
