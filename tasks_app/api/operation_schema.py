"""The shapes of operations in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers

from tasks_app.api import schema
from tasks_app.api.list_parameters import MAX_ERROR_CHARS, MAX_IDS, MAX_TYPES
from tasks_app.api.list_schema import NAME_PATTERN, UUID_PATTERN
from tasks_app.api.option_fields import MAX_TAGS, TAG_PATTERN
from tasks_app.api.option_schema import JSONObject
from tasks_app.models import FailureReason, OperationState, Status, Verb
from tasks_app.operations.plan import MAX_LIMIT, MAX_RATE, MIN_RATE

_NUMBERS = {"type": "object", "additionalProperties": {"type": "integer"}}


def _texts(word: str, most: int, commas: bool = True) -> dict[str, Any]:
    """`most` words: an array, or one string, with commas between them."""
    several = f"(,({word})){{0,{most - 1}}}" if commas else ""
    return {
        "oneOf": [
            {"type": "string", "pattern": f"^({word}){several}$"},
            {"type": "array", "items": {"type": "string", "pattern": f"^({word})$"}, "minItems": 1, "maxItems": most},
        ]
    }


def _words(known: Iterable[str]) -> dict[str, Any]:
    words = list(map(str, known))
    return _texts("|".join(words), len(words))


@extend_schema_field(
    {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            "status": _words(Status),
            "type": _texts(NAME_PATTERN, MAX_TYPES),
            "failure_reason": _words(FailureReason),
            "tag": _texts(TAG_PATTERN, MAX_TAGS, commas=False),
            "priority_min": {"type": "integer", "minimum": 0, "maximum": 100},
            "priority_max": {"type": "integer", "minimum": 0, "maximum": 100},
            "created_after": {"type": "string", "format": "date-time"},
            "created_before": {"type": "string", "format": "date-time"},
            "ids": _texts(UUID_PATTERN, MAX_IDS),
            "error": {"type": "string", "minLength": 1, "maxLength": MAX_ERROR_CHARS},
        },
    }
)
class FilterField(serializers.JSONField):
    """Conditions for tasks."""


@extend_schema_field(_NUMBERS)
class NumbersField(serializers.JSONField):
    """Numbers by names."""


class NewOperation(serializers.Serializer):
    """An act on all tasks that match a filter."""

    filter = FilterField(
        help_text="The filters of `GET /api/tasks`; at least one. Lists are strings with commas, or arrays."
    )
    dry_run = serializers.BooleanField(required=False, allow_null=True, help_text="Only count.")
    rate = serializers.FloatField(
        required=False, allow_null=True, min_value=MIN_RATE, max_value=MAX_RATE, help_text="Tasks a second."
    )
    limit = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=MAX_LIMIT, help_text="At most so many tasks."
    )


class OperationStarted(serializers.Serializer):
    """The stored operation."""

    operation_id = serializers.UUIDField()


class OperationPreview(serializers.Serializer):
    """What an operation would do."""

    matched = serializers.IntegerField(min_value=0, help_text="Tasks that it would change.")
    matched_exact = serializers.BooleanField(help_text="False: counting ended early, and there are at least so many.")
    by_type = NumbersField()
    by_status = NumbersField()
    by_reason = NumbersField(help_text="By `failure_reason`, of failed tasks.")
    skipped = NumbersField(help_text="By status: those named by `ids` that it would skip.")
    oldest = serializers.DateTimeField(allow_null=True, help_text="When the oldest of them was created.")
    warnings = serializers.ListField(child=serializers.CharField(), help_text="Why tasks would not run, in sentences.")


class OperationObject(serializers.Serializer):
    """An operation."""

    id = serializers.UUIDField()
    verb = serializers.ChoiceField(choices=Verb.choices)
    state = serializers.ChoiceField(
        choices=OperationState.choices, help_text="`stopped`: by itself, because too many redriven tasks failed again."
    )
    filter = JSONObject(help_text="Its conditions.")
    matched = serializers.IntegerField(min_value=0, help_text="Tasks that matched at its start.")
    matched_exact = serializers.BooleanField(help_text="False: at least so many.")
    done = serializers.IntegerField(min_value=0)
    skipped = NumbersField(
        help_text="By reason: the status that a task had, `living_twin`, `gone` or `changed` (since the start)."
    )
    failed = serializers.IntegerField(min_value=0, help_text="Tasks whose change the database refused.")
    priority = serializers.IntegerField(allow_null=True)
    rate = serializers.FloatField(allow_null=True)
    limit = serializers.IntegerField(allow_null=True)
    canary = serializers.IntegerField(allow_null=True)
    stop_share = serializers.FloatField(allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    ended_at = serializers.DateTimeField(allow_null=True)
    sentence = serializers.CharField(help_text="How it ended; blank while it runs.")


OPERATION_ID = OpenApiParameter(
    "operation_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The operation's id."
)
LOCATION = schema.header("Location", "The operation's address.", 202)
NO_OPERATION = {404: schema.failure("No such operation.", missing="Operation not found")}
STARTED = {
    202: OpenApiResponse(OperationStarted, "The operation is stored; a node begins it within about a second."),
    200: OpenApiResponse(OperationPreview, "With `dry_run`: what it would do. Nothing was changed."),
    400: schema.failure(
        "The request is invalid, and nothing was changed.",
        empty="filter must have a condition, or it would mean every task; the conditions are status, type, ...",
    ),
}
ONE = {200: OperationObject, **NO_OPERATION}
ABORTED = {
    200: OpenApiResponse(OperationObject, "It is aborted: no further batch begins."),
    **NO_OPERATION,
    409: schema.failure("It is over.", over="Operation is already completed; only a running one can be aborted"),
}
LIMIT = OpenApiParameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, description="How many, the newest first."
)
EXAMPLES = [
    OpenApiExample("timeouts", {"filter": {"type": "prime", "failure_reason": "timeout"}}, request_only=True),
    OpenApiExample(
        "count first", {"filter": {"type": "prime", "failure_reason": "timeout"}, "dry_run": True}, request_only=True
    ),
    OpenApiExample("started", {"operation_id": schema.UUID_EXAMPLE}, response_only=True, status_codes=["202"]),
]
