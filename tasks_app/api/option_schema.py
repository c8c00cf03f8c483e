"""The options of a task in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema_field
from rest_framework import serializers

from tasks_app.api.idempotency import HEADER, KEY_PATTERN, REPLAYED
from tasks_app.api.option_fields import MAX_METADATA_BYTES, MAX_SECONDS, MAX_TAGS, MAX_UNIQUE_KEY_CHARS, TAG_PATTERN


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObject(serializers.JSONField):
    """A JSON object."""


def _seconds(meaning: str) -> serializers.FloatField:
    return serializers.FloatField(
        required=False, allow_null=True, min_value=0, max_value=MAX_SECONDS, help_text=meaning
    )


def _moment(meaning: str) -> serializers.DateTimeField:
    return serializers.DateTimeField(required=False, allow_null=True, help_text=meaning)


def _tags(**options: Any) -> serializers.ListField:
    return serializers.ListField(
        child=serializers.RegexField(f"^{TAG_PATTERN}$"), max_length=MAX_TAGS, required=False, **options
    )


class NewTaskOptions(serializers.Serializer):
    """What a task may be asked for. No `default`s, as in `NewTask`."""

    delay = _seconds("Start it in so many seconds at the earliest.")
    run_at = _moment("Start it at this time at the earliest, instead of `delay`: RFC 3339 with an offset.")
    expires_in = _seconds("If it has not been started in so many seconds, it fails as `expired`. More than `delay`.")
    expires_at = _moment("If it has not been started at this time, it fails as `expired`; instead of `expires_in`.")
    timeout = serializers.FloatField(
        required=False,
        allow_null=True,
        min_value=0,
        help_text="Seconds of an attempt: more than 0, at most the handler's `timeout_limit`.",
    )
    max_retries = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, help_text="At most the handler's `retries_limit`."
    )
    tags = _tags(allow_null=True, help_text="To filter lists by.")
    metadata = JSONObject(
        required=False,
        allow_null=True,
        help_text=f"Comes back with the task; the handler does not get it. At most {MAX_METADATA_BYTES:,} bytes.",
    )
    unique_key = serializers.CharField(
        required=False,
        allow_null=True,
        min_length=1,
        max_length=MAX_UNIQUE_KEY_CHARS,
        help_text="While a task of this type with this key has not ended, that one is answered and nothing is stored.",
    )


class TaskOptionsObject(serializers.Serializer):
    """The options of a task object. In a complete one only those that the task has."""

    expires_at = serializers.DateTimeField(required=False)
    timeout = serializers.FloatField(required=False, help_text="Seconds of an attempt, if the task asked for them.")
    max_retries = serializers.IntegerField(required=False, min_value=0, help_text="If the task asked for them.")
    tags = _tags()
    metadata = JSONObject(required=False)
    unique_key = serializers.CharField(required=False)


IDEMPOTENCY = [
    OpenApiParameter(
        HEADER,
        {"type": "string", "pattern": KEY_PATTERN, "examples": ["order-7-thumbnails"]},
        OpenApiParameter.HEADER,
        description="A name of this request. If it is repeated, it gets the first one's answer, and nothing is stored.",
    ),
    OpenApiParameter(
        REPLAYED,
        {"type": "string", "enum": ["true"]},
        OpenApiParameter.HEADER,
        description="Present if an earlier request with this key had this answer.",
        response=[200],
    ),
]
EXAMPLES = [
    OpenApiExample(
        "later or not at all", {"type": "echo", "delay": 60, "expires_in": 3600}, request_only=True
    ),
    OpenApiExample("not before a time", {"type": "echo", "run_at": "2026-01-31T09:00:00Z"}, request_only=True),
    OpenApiExample(
        "with limits of its own", {"type": "prime", "data": {"limit": 1000}, "timeout": 10, "max_retries": 0},
        request_only=True,
    ),
    OpenApiExample(
        "to find again",
        {"type": "echo", "tags": ["customer:42", "nightly"], "metadata": {"order": 7}},
        request_only=True,
    ),
    OpenApiExample("once at a time", {"type": "prime", "unique_key": "primes of the day"}, request_only=True),
]  # fmt: skip
