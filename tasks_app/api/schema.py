"""The shapes of the OpenAPI document. They only describe requests; `inputs.py` validates them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers

from tasks_app.api import option_schema
from tasks_app.api.option_schema import JSONObject, NewTaskOptions, TaskOptionsObject
from tasks_app.api.waiting import MAX_WAIT_SECONDS
from tasks_app.queue.models import FailureReason, Status

UUID_EXAMPLE = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


@extend_schema_field({})
class JSONValue(serializers.JSONField):
    """Any JSON value."""


class PlainNewTask(serializers.Serializer):
    """What every task has."""

    type = serializers.CharField(help_text="The name of a handler in handlers.toml.")
    data = JSONObject(  # type: ignore[assignment]
        required=False,
        allow_null=True,
        help_text="What the handler gets; {} if absent or null. No NUL in any string, at most 64 levels deep.",
    )
    # No `default`: generators treat a field with a default as required.
    priority = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=100,
        help_text="With DAEMON_TASK_SELECTION=priority, larger values go first; 50 if absent or null.",
    )


class NewTask(PlainNewTask, NewTaskOptions):
    """A task to queue."""


class NewTasks(serializers.Serializer):
    """Tasks to queue: all are stored, or none."""

    tasks = serializers.ListField(child=NewTask(), min_length=1, max_length=1000)


class PlainTaskObject(serializers.Serializer):
    """What every task object has."""

    id = serializers.UUIDField()
    task_type = serializers.CharField()
    task_data = JSONObject()
    status = serializers.ChoiceField(choices=Status.choices)
    priority = serializers.IntegerField(min_value=0, max_value=100)
    attempts = serializers.IntegerField(min_value=0, help_text="The number of attempts so far.")
    result = JSONValue(help_text="The handler's result: any JSON value; null until there is one.")
    last_error = serializers.CharField(allow_null=True)
    failure_reason = serializers.ChoiceField(
        choices=FailureReason.choices, allow_null=True, help_text="Why the task failed; null: it has not failed."
    )
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True, help_text="Start of the last attempt.")
    completed_at = serializers.DateTimeField(allow_null=True, help_text="When the task completed or failed.")
    due_at = serializers.DateTimeField(
        allow_null=True, help_text="When the task is to start, or to be retried, while it waits for that time."
    )


class TaskObject(PlainTaskObject, TaskOptionsObject):
    """A task."""

    omitted = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Fields that are left out, because an earlier version has stored values too large for any answer.",
    )


class Queued(serializers.Serializer):
    """The stored task."""

    task_id = serializers.UUIDField()
    existing = serializers.BooleanField(
        required=False, help_text="Only with a `unique_key`: true if the task was stored before, so nothing was now."
    )
    task = TaskObject(
        required=False,
        help_text="Only after a wait: the task at its end. Absent if it was deleted or could not be read.",
    )


class QueuedTogether(serializers.Serializer):
    """The stored tasks."""

    task_ids = serializers.ListField(child=serializers.UUIDField(), help_text="In the order of `tasks`.")
    existing = serializers.ListField(
        child=serializers.BooleanField(),
        required=False,
        help_text="Only if a task has a `unique_key`: for each, whether it was stored before.",
    )


class ErrorDetail(serializers.Serializer):
    """One fault."""

    field = serializers.CharField(help_text="The field with the fault; empty: the whole request.")
    error = serializers.CharField()


class ErrorObject(serializers.Serializer):
    """A failure."""

    error = serializers.CharField(help_text="What is wrong, in one sentence.")
    details = ErrorDetail(many=True, required=False, help_text="One entry for each fault, if there are several.")


def failure(sentence: str, **examples: str) -> OpenApiResponse:
    """A failure's description, with its sentences by the names of the examples."""
    shown = [OpenApiExample(name.replace("_", " "), {"error": text}) for name, text in examples.items()]
    return OpenApiResponse(ErrorObject, sentence, examples=shown)


def header(name: str, what: str, *statuses: int, kind: Any = str) -> OpenApiParameter:
    """A header of the answers with these statuses."""
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=what, response=list(statuses))


TASK_ID = OpenApiParameter("task_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The task's id.")
LOCATION = header("Location", "The task's address.", 200)
LINK = header("Link", 'The next page, `<...>; rel="next"`; absent on the last one.', 200)


def wait_parameter(description: str) -> OpenApiParameter:
    """`wait`."""
    limits = {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS}
    return OpenApiParameter("wait", limits, description=description)


WAITING = [
    wait_parameter("Answer once the task is final, or after so many seconds with the task as it is then."),
    OpenApiParameter(
        "Prefer",
        str,
        OpenApiParameter.HEADER,
        description="`wait=SECONDS`, as the parameter `wait` (RFC 7240). Larger values are reduced, others ignored.",
    ),
    header("Preference-Applied", "`wait=SECONDS`, if the request asked for a wait.", 200),
]

_INVALID = "The request is invalid. The sentence says what is wrong, where, and what would be valid."
BAD = {400: failure(_INVALID)}
NO_TASK = {404: failure("No such task.", missing="Task not found")}
_KEY_REUSED = failure(
    "Another request had this Idempotency-Key. Nothing was stored.",
    reused=f"this Idempotency-Key was used for another request, whose first task is {UUID_EXAMPLE}; use a new key",
)
QUEUED = {
    200: OpenApiResponse(Queued, "The task is stored and survives a power cut."),
    400: failure(
        _INVALID,
        misspelt='no handler is named "reisze"; handlers.toml has echo, prime, resize; did you mean "resize"?',
    ),
    413: failure("The body, or its data once it is stored, is larger than DAEMON_MAX_BODY."),
    422: _KEY_REUSED,
    429: failure("The queue is full (DAEMON_MAX_QUEUE), or DAEMON_MAX_RATE or the rate of the API key is exceeded."),
}
QUEUED_TOGETHER = {
    200: OpenApiResponse(QueuedTogether, "All tasks are stored and survive a power cut."),
    400: failure(
        "The request is invalid, and nothing was stored. `details` has each fault with the index of its task.",
        misspelt=(
            "1 of 100 tasks are wrong, none was stored: tasks[7].type: "
            'no handler is named "reisze"; handlers.toml has echo, prime, resize; did you mean "resize"?'
        ),
    ),
    413: failure("The body is larger than eight times DAEMON_MAX_BODY, or the data of a task than DAEMON_MAX_BODY."),
    422: _KEY_REUSED,
    429: failure("The tasks would exceed DAEMON_MAX_QUEUE, or DAEMON_MAX_RATE or the rate of the API key is exceeded."),
}
CHANGED = OpenApiResponse(
    TaskObject,
    "The task as it is now. With an API key that lacks `tasks:read`, `task_data` is {}, `result` and `last_error` are "
    "null, and it has no options.",
)
ONE = {200: TaskObject, **NO_TASK}
DELETED = {204: OpenApiResponse(None, "The task is deleted."), **NO_TASK}
CANCELLED = {
    200: CHANGED,
    **NO_TASK,
    409: failure(
        "The task has ended.",
        ended="Task is already completed; only a pending or processing task can be cancelled",
    ),
}
REDRIVEN = {
    200: CHANGED,
    404: failure("No such task, or it is not failed.", not_failed="Task not found, or it is not failed"),
    409: failure(
        "Another task with its `unique_key` has not ended.",
        twin=f"Task {UUID_EXAMPLE} has the same type and unique_key and has not ended",
    ),
}
QUEUE_EXAMPLES = [
    OpenApiExample("prime", {"type": "prime", "data": {"limit": 1000000}}, request_only=True),
    OpenApiExample("first of all", {"type": "echo", "data": {"hello": "world"}, "priority": 100}, request_only=True),
    OpenApiExample(
        "picture",
        {"type": "resize", "data": {"url": "https://example.com/image.jpg", "width": 64}, "priority": 75},
        request_only=True,
    ),
    *option_schema.EXAMPLES,
    OpenApiExample("stored", {"task_id": UUID_EXAMPLE}, response_only=True, status_codes=["200"]),
    OpenApiExample(
        "found by its unique key",
        {"task_id": UUID_EXAMPLE, "existing": True},
        response_only=True,
        status_codes=["200"],
    ),
]

BATCH_EXAMPLES = [
    OpenApiExample(
        "two",
        {"tasks": [{"type": "prime", "data": {"limit": 1000}}, {"type": "echo", "priority": 100}]},
        request_only=True,
    ),
    OpenApiExample(
        "with options",
        {"tasks": [{"type": "prime", "data": {"limit": 1000}, "tags": ["nightly"]}, {"type": "echo", "delay": 60}]},
        request_only=True,
    ),
    OpenApiExample("stored", {"task_ids": [UUID_EXAMPLE]}, response_only=True, status_codes=["200"]),
]
