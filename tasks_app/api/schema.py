"""The shapes of the OpenAPI document. They describe; `inputs.py` checks."""

from __future__ import annotations


from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers

from tasks_app.models import FailureReason, Status

_UUID = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObject(serializers.JSONField):
    """A JSON object."""


@extend_schema_field({"description": "Any JSON value.", "nullable": True})
class JSONValue(serializers.JSONField):
    """Any JSON value."""


class NewTask(serializers.Serializer):
    """A task to queue."""

    type = serializers.CharField(help_text="A handler of handlers.toml.")
    data = JSONObject(required=False, default=dict, help_text="What the handler gets.")
    priority = serializers.IntegerField(
        required=False, default=50, min_value=0, max_value=100, help_text="Larger first, when DAEMON_TASK_SELECTION=priority."
    )


class Queued(serializers.Serializer):
    """A task was stored."""

    task_id = serializers.UUIDField()


class TaskObject(serializers.Serializer):
    """A task."""

    id = serializers.UUIDField()
    task_type = serializers.CharField()
    task_data = JSONObject()
    status = serializers.ChoiceField(choices=Status.choices)
    priority = serializers.IntegerField(min_value=0, max_value=100)
    attempts = serializers.IntegerField(min_value=0, help_text="How often it was started.")
    result = JSONValue(allow_null=True, help_text="What the handler answered.")
    last_error = serializers.CharField(allow_null=True)
    failure_reason = serializers.ChoiceField(choices=FailureReason.choices, allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True, help_text="Start of the last attempt.")
    completed_at = serializers.DateTimeField(allow_null=True, help_text="When it ended.")
    due_at = serializers.DateTimeField(allow_null=True, help_text="Until when it waits, while it waits for a retry.")


class ErrorDetail(serializers.Serializer):
    """One fault."""

    field = serializers.CharField()
    error = serializers.CharField()


class ErrorObject(serializers.Serializer):
    """A failure."""

    error = serializers.CharField(help_text="What is wrong, in one sentence.")
    details = ErrorDetail(many=True, required=False)


def _failure(sentence: str) -> OpenApiResponse:
    return OpenApiResponse(ErrorObject, sentence)


TASK_ID = OpenApiParameter("task_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The task's id.")
_UNAVAILABLE = {503: _failure("The database cannot be reached; come back after Retry-After seconds.")}
_FORBIDDEN = {403: _failure("The call came from another site.")}
_NO_TASK = {404: _failure("No such task.")}
_BAD = {400: _failure("Something in the request is wrong: what, where, and what would be right.")}
QUEUED = {
    200: OpenApiResponse(Queued, "Stored, and safe from a power cut."),
    **_BAD,
    **_FORBIDDEN,
    413: _failure("The body is too large."),
    429: _failure("The queue is full; come back after Retry-After seconds."),
    **_UNAVAILABLE,
}
ONE = {200: TaskObject, **_BAD, **_NO_TASK, **_UNAVAILABLE}
LISTED = {200: TaskObject(many=True), **_BAD, **_UNAVAILABLE}
DELETED = {204: None, **_BAD, **_FORBIDDEN, **_NO_TASK, **_UNAVAILABLE}
REDRIVEN = {200: TaskObject, **_BAD, **_FORBIDDEN, 404: _failure("No such task, or it is not failed."), **_UNAVAILABLE}
QUEUE_EXAMPLES = [
    OpenApiExample("prime", {"type": "prime", "data": {"limit": 1000000}}, request_only=True),
    OpenApiExample("first of all", {"type": "echo", "data": {"hello": "world"}, "priority": 100}, request_only=True),
    OpenApiExample("stored", {"task_id": _UUID}, response_only=True, status_codes=["200"]),
]
