"""`GET /api/tasks/{id}/why`: why a task does not run, or how it ended."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import schema
from tasks_app.api.errors import NotFound
from tasks_app.api.view import API, both, task_in_path
from tasks_app.features.why.decide import decide
from tasks_app.features.why.facts import MAX_BEFORE, read_facts
from tasks_app.rights import SEE_TASKS, needs


class ReasonObject(serializers.Serializer):
    """A reason. Each has a word, a sentence and the values of the sentence; docs/api.md says which."""

    # No enumeration: a generated client must also work with later reasons.
    reason = serializers.CharField(
        help_text="`scheduled`, `retry`, `held`, `limit`, `limit_key`, `rate`, `paused`, `no_node`, `cannot_start`, "
        "`starting`, `cap`, `behind`, `ready`, `running`, `lost` or `final`. Expect further ones."
    )
    sentence = serializers.CharField(help_text="The same for people.")
    due_at = serializers.DateTimeField(required=False, help_text="When it is to start, or to be retried.")
    seconds = serializers.FloatField(
        required=False,
        min_value=0,
        help_text="Until `due_at`, for a rate at the soonest; or for how long its attempt has been running.",
    )
    attempt = serializers.IntegerField(required=False, min_value=1, help_text="The attempt that runs, or that failed.")
    attempts = serializers.IntegerField(required=False, min_value=0)
    retries = serializers.IntegerField(required=False, min_value=0, help_text="Retries spent.")
    max_retries = serializers.IntegerField(required=False, allow_null=True, min_value=0)
    workers = serializers.IntegerField(required=False, min_value=0, help_text="Living workers, whatever they serve.")
    problems = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="What the workers say about its containers."
    )
    slots = serializers.IntegerField(required=False, min_value=0, help_text="Places for containers of its type.")
    warm = serializers.IntegerField(required=False, min_value=0, help_text="Those with a container.")
    busy = serializers.IntegerField(required=False, min_value=0, help_text="Those with a task.")
    cap = serializers.IntegerField(required=False, min_value=0, help_text="Tasks that these workers may run at once.")
    running = serializers.IntegerField(required=False, min_value=0, help_text="Tasks that they run.")
    place = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        help_text=f"1: it is the next of its type, or of its `limit_key`; null: {MAX_BEFORE:,} or more are before it.",
    )
    estimate_seconds = serializers.FloatField(
        required=False, allow_null=True, min_value=0, help_text="Until it is likely to start; null: unknown."
    )
    estimate_from = serializers.CharField(
        required=False, allow_null=True, help_text="From what the estimate was computed, and what it leaves out."
    )
    limit_key = serializers.CharField(required=False)
    max_running_per_key = serializers.IntegerField(required=False, min_value=1)
    max_running = serializers.IntegerField(required=False, min_value=1)
    rate = serializers.CharField(required=False, help_text="As handlers.toml has it.")
    permits = serializers.IntegerField(
        required=False,
        min_value=0,
        help_text="Tasks of its `limit_key` that are ready or running, or of its type that run: the limit is used up.",
    )
    behind = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="The ids of some of those tasks, up to 10."
    )
    by = serializers.CharField(required=False, help_text="Who paused its type.")
    since = serializers.DateTimeField(required=False, help_text="Since when its type has been paused.")
    until = serializers.DateTimeField(
        required=False, allow_null=True, help_text="When the pause ends by itself; null: when it is resumed."
    )
    given_reason = serializers.CharField(
        required=False, allow_null=True, help_text="Why its type was paused; null: they did not say."
    )
    node = serializers.CharField(required=False, help_text="The worker process that runs it.")
    silent_seconds = serializers.FloatField(
        required=False, allow_null=True, min_value=0, help_text="Since its worker's last sign of life; null: it ended."
    )
    started_at = serializers.DateTimeField(required=False)
    timeout = serializers.FloatField(required=False, allow_null=True, help_text="Seconds that the attempt may take.")
    status = serializers.CharField(required=False, help_text="`completed` or `failed`.")
    failure_reason = serializers.CharField(required=False, allow_null=True)
    completed_at = serializers.DateTimeField(required=False)
    last_error = serializers.CharField(required=False, allow_null=True)


class Why(serializers.Serializer):
    """Why a task does not run, or how it ended."""

    reasons = ReasonObject(many=True, help_text="At least one; the decisive one first.")


_BEHIND = {
    "reason": "behind",
    "sentence": "all 4 slots of its type are busy, and 41 tasks are before it; it is likely to start in about 13 s",
    "place": 42,
    "slots": 4,
    "busy": 4,
    "estimate_seconds": 12.942,
    "estimate_from": "the last 120 attempts of this type took 1.2 s on average; 4 slots",
}
_CANNOT_START = {
    "reason": "cannot_start",
    "sentence": "its containers cannot start: handler 'prime' ends at once with exit code 3: no such model",
    "problems": ["handler 'prime' ends at once with exit code 3: no such model"],
    "slots": 4,
    "warm": 0,
}
_RETRY = {
    "reason": "retry",
    "sentence": "attempt 1 failed (the service is away); it is tried again in 2.4 s (retry 1 of 3)",
    "due_at": "2026-01-31T09:00:02.400000Z",
    "seconds": 2.4,
    "attempt": 1,
    "retries": 1,
    "max_retries": 3,
    "last_error": "the service is away",
}
_EXAMPLES = [
    schema.answered(name, {"reasons": [reason]})
    for name, reason in (("it waits for a slot", _BEHIND), ("a problem", _CANNOT_START), ("a retry", _RETRY))
]


class WhyView(API):
    """`GET /api/tasks/{id}/why`."""

    scopes = needs(GET=SEE_TASKS)

    @schema.call(
        "why_task",
        "tasks",
        {200: OpenApiResponse(Why, "The reasons."), **schema.NO_TASK},
        [schema.TASK_ID],
        examples=_EXAMPLES,
    )
    def get(self, request: Request, task_id: str) -> Response:
        """Tell why a task does not run, when it is likely to start, or how it ended."""
        if (facts := read_facts(task_in_path(request, task_id))) is None:
            raise NotFound
        reasons = [{"reason": each.reason, "sentence": each.sentence, **each.values} for each in decide(facts)]
        return Response({"reasons": reasons})


urlpatterns = [
    *both("api/tasks/<one:task_id>/why", WhyView.as_view(), "why"),
]
