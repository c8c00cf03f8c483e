"""The shapes of the system's answers, for the OpenAPI document."""

from __future__ import annotations

from rest_framework import serializers

from tasks_app.models import Status


class Health(serializers.Serializer):
    """Whether tasks are accepted and run."""

    status = serializers.ChoiceField(choices=["healthy", "unhealthy"])
    queue_size = serializers.IntegerField(min_value=0, help_text="Tasks that are pending.")
    workers = serializers.IntegerField(min_value=0, help_text="Living worker processes.")
    timestamp = serializers.DateTimeField()
    problems = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="What is wrong, in sentences; absent when nothing is."
    )


class Live(serializers.Serializer):
    """This process answers."""

    status = serializers.ChoiceField(choices=["live"])


class Ready(serializers.Serializer):
    """Whether this process can accept tasks."""

    status = serializers.ChoiceField(choices=["ready", "not ready"])
    problems = serializers.ListField(child=serializers.CharField(), required=False)


def _counts(what: str) -> serializers.DictField:
    return serializers.DictField(child=serializers.IntegerField(), help_text=what)


class Times(serializers.Serializer):
    """A histogram, summed up. Seconds."""

    count = serializers.IntegerField()
    sum = serializers.FloatField()


class HandlerSummary(serializers.Serializer):
    """One handler's figures."""

    received = serializers.IntegerField()
    success = serializers.IntegerField()
    failed = serializers.IntegerField()
    failures = _counts("Of failed, by reason.")
    deleted = serializers.IntegerField()
    stored = serializers.DictField(
        child=serializers.IntegerField(), help_text=f"By status: {', '.join(Status.values)}."
    )
    pending = serializers.IntegerField()
    oldest_ready_seconds = serializers.FloatField()
    attempts = _counts("Ended attempts, by outcome.")
    retries = serializers.IntegerField()
    redrives = serializers.IntegerField()
    releases = serializers.IntegerField()
    leases_lost = serializers.IntegerField()
    results_stale = serializers.IntegerField()
    slots = serializers.IntegerField()
    active = serializers.IntegerField()
    idle = serializers.IntegerField()
    container_starts = serializers.IntegerField()
    container_deaths = _counts("By reason.")
    processing_seconds = Times()
    wait_seconds = Times()
    overhead_seconds = Times()
    problems = serializers.ListField(child=serializers.CharField())


class Summary(serializers.Serializer):
    """The numbers of /metrics."""

    tasks_received = serializers.IntegerField()
    tasks_processed_success = serializers.IntegerField()
    tasks_processed_failed = serializers.IntegerField()
    tasks_deleted = serializers.IntegerField()
    tasks_unaccounted = serializers.IntegerField(help_text="0, or rows were changed by hand.")
    queue_size = serializers.IntegerField()
    daemon_healthy = serializers.BooleanField()
    nodes_alive = serializers.IntegerField()
    nodes_draining = serializers.IntegerField()
    bells_rung = serializers.IntegerField()
    bells_heard = serializers.IntegerField()
    http_responses = serializers.IntegerField()
    age_seconds = serializers.FloatField(
        min_value=0, help_text="Since these numbers were read: one reading serves all."
    )
    handlers = serializers.DictField(child=HandlerSummary())
