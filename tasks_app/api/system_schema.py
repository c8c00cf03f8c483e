"""The shapes of the answers about the system, for the OpenAPI document."""

from __future__ import annotations

from rest_framework import serializers

from tasks_app.models import Status


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


def _counts(text: str) -> serializers.DictField:
    return serializers.DictField(child=serializers.IntegerField(), help_text=text)


class Times(serializers.Serializer):
    """The number and sum of a histogram's observations, in seconds."""

    count = serializers.IntegerField()
    sum = serializers.FloatField()


class HandlerSummary(serializers.Serializer):
    """The numbers of one handler."""

    received = serializers.IntegerField()
    success = serializers.IntegerField()
    failed = serializers.IntegerField()
    failures = _counts("Failed tasks, by reason.")
    deleted = serializers.IntegerField()
    stored = serializers.DictField(
        child=serializers.IntegerField(), help_text=f"Stored tasks, by status: {', '.join(Status.values)}."
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
    container_deaths = _counts("Ended containers, by reason.")
    processing_seconds = Times()
    wait_seconds = Times()
    overhead_seconds = Times()
    paused = serializers.BooleanField()
    problems = serializers.ListField(child=serializers.CharField())


class Summary(serializers.Serializer):
    """The numbers of /metrics."""

    tasks_received = serializers.IntegerField()
    tasks_processed_success = serializers.IntegerField()
    tasks_processed_failed = serializers.IntegerField()
    tasks_deleted = serializers.IntegerField()
    tasks_unaccounted = serializers.IntegerField(help_text="Not 0 if rows were changed by hand.")
    queue_size = serializers.IntegerField()
    daemon_healthy = serializers.BooleanField()
    nodes_alive = serializers.IntegerField()
    nodes_draining = serializers.IntegerField()
    node_versions = serializers.DictField(
        child=serializers.CharField(allow_null=True),
        help_text="The version of the platform that each living worker runs; null: it does not say so.",
    )
    notifications_sent = serializers.IntegerField()
    notifications_received = serializers.IntegerField()
    bells_rung = serializers.IntegerField(help_text="Alias of notifications_sent; will be removed in the next version.")
    bells_heard = serializers.IntegerField(
        help_text="Alias of notifications_received; will be removed in the next version."
    )
    http_responses = serializers.IntegerField()
    age_seconds = serializers.FloatField(min_value=0, help_text="The age of these numbers.")
    handlers = serializers.DictField(child=HandlerSummary())
