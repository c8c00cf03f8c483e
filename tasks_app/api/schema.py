"""How calls are declared for the OpenAPI document, and the shapes that several share.

Shapes only describe. What a request may have is declared where it is read (`fields`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers

from tasks_app.api.fields import Asks, query_parameters
from tasks_app.field import Fields
from tasks_app.options.known import in_answers
from tasks_app.queue.models import FailureReason, Status

F = TypeVar("F", bound=Callable[..., Any])
UUID_EXAMPLE = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"
NO_HANDLER_EXAMPLE = 'no handler is named "reisze"; handlers.toml has echo, prime, resize; did you mean "resize"?'


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObject(serializers.JSONField):
    """A JSON object."""


@extend_schema_field({})
class JSONValue(serializers.JSONField):
    """Any JSON value."""


def numbers(**more: Any) -> serializers.DictField:
    """Numbers by names."""
    return serializers.DictField(child=serializers.IntegerField(), **more)


def described(name: str, schema: Mapping[str, Any]) -> serializers.Field:
    """A field that not every object has, with this schema."""
    shape: type[serializers.Field] = extend_schema_field(dict(schema))(type(name, (serializers.JSONField,), {}))
    return shape(required=False)


class TaskObject(serializers.Serializer):
    """A task."""

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
    omitted = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Fields that are left out, because an earlier version has stored values too large for any answer.",
    )

    def get_fields(self) -> dict[str, serializers.Field]:
        """The options come before `omitted`."""
        found: dict[str, serializers.Field] = {}
        for name, field in super().get_fields().items():
            if name == "omitted":
                found |= {option.name: described(option.name, option.answer or {}) for option in in_answers().values()}
            found[name] = field
        return found


class Queued(serializers.Serializer):
    """The stored task."""

    task_id = serializers.UUIDField()
    existing = serializers.BooleanField(
        required=False, help_text="Only with a `unique_key`: true if the task was stored before, so nothing was now."
    )
    callback_taken = serializers.BooleanField(
        required=False,
        help_text="Only if it is `existing` and the request has a `callback_url`: whether the task's end is told "
        "there, signed for this caller. False: no callback for this caller goes there. Absent if it could not be read.",
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
    callback_taken = serializers.ListField(
        child=serializers.BooleanField(allow_null=True),
        required=False,
        help_text="Only if a task that is `existing` was sent with a `callback_url`: for each, as for a single task; "
        "null for the others.",
    )


class ErrorDetail(serializers.Serializer):
    """One fault."""

    field = serializers.CharField(help_text="The field with the fault; empty: the whole request.")
    error = serializers.CharField()


class ErrorObject(serializers.Serializer):
    """A failure."""

    error = serializers.CharField(help_text="What is wrong, in one sentence.")
    details = ErrorDetail(many=True, required=False, help_text="One entry for each fault, if there are several.")


def call(
    name: str,
    tag: str,
    answers: Mapping[Any, Any],
    parameters: Sequence[OpenApiParameter] = (),
    request: Any = None,
    examples: Sequence[OpenApiExample] = (),
    query: Fields | None = MappingProxyType({}),
) -> Callable[[F], F]:
    """Declares a call, together with the docstring of its method. `query`: its parameters; `request`: the shape of its
    body. What is not declared is refused, unless `query` is None: then whatever is sent is ignored."""
    described = extend_schema(
        operation_id=name,
        tags=[tag],
        responses=answers,
        parameters=[*parameters, *query_parameters(query or {})],
        request=request,
        examples=[*examples],
    )

    def declare(method: F) -> F:
        if query is not None:
            body = None if request is None else getattr(request, "fields_of", {})
            method.asks = Asks(query, body)  # type: ignore[attr-defined]
        return described(method)

    return declare


def failure(sentence: str, **examples: str) -> OpenApiResponse:
    """A failure's description, with its sentences by the names of the examples."""
    shown = [OpenApiExample(name.replace("_", " "), {"error": text}) for name, text in examples.items()]
    return OpenApiResponse(ErrorObject, sentence, examples=shown)


def asked(name: str, body: Any) -> OpenApiExample:
    """An example of a request."""
    return OpenApiExample(name, body, request_only=True)


def answered(name: str, body: Any, status: int = 200) -> OpenApiExample:
    """An example of an answer."""
    return OpenApiExample(name, body, response_only=True, status_codes=[str(status)])


def header(name: str, what: str, *statuses: int) -> OpenApiParameter:
    """A header of the answers with these statuses."""
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=what, response=list(statuses))


ETAG = [
    OpenApiParameter(
        "If-None-Match",
        str,
        OpenApiParameter.HEADER,
        description="The ETag of an earlier answer: 304 if it is the same.",
    ),
    header("ETag", "Of this answer; that of a final task stays as it is.", 200, 304),
]
UNCHANGED = OpenApiResponse(None, "It is as it was: `If-None-Match` has its ETag.")
TASK_ID = OpenApiParameter("task_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The task's id.")
LOCATION = header("Location", "The task's address.", 200)


_INVALID = "The request is invalid. The sentence says what is wrong, where, and what would be valid."
BAD = {400: failure(_INVALID)}
NO_TASK = {404: failure("No such task.", missing="Task not found")}
QUEUED = {
    200: OpenApiResponse(Queued, "The task is stored and survives a power cut."),
    400: failure(_INVALID, misspelt=NO_HANDLER_EXAMPLE),
    413: failure("The body, or its data once it is stored, is larger than DAEMON_MAX_BODY."),
    429: failure("The queue is full (DAEMON_MAX_QUEUE), or DAEMON_MAX_RATE or the rate of the API key is exceeded."),
}
QUEUED_TOGETHER = {
    200: OpenApiResponse(QueuedTogether, "All tasks are stored and survive a power cut."),
    400: failure(
        "The request is invalid, and nothing was stored. `details` has each fault with the index of its task.",
        misspelt=f"1 of 100 tasks are wrong, none was stored: tasks[7].type: {NO_HANDLER_EXAMPLE}",
    ),
    413: failure("The body is larger than eight times DAEMON_MAX_BODY, or the data of a task than DAEMON_MAX_BODY."),
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
    400: failure("The body is invalid, and nothing was changed.", no_object="data must be a JSON object, not an array"),
    404: failure(
        "No such task, or it is not failed.", not_failed="Task is completed; only a failed task can be redriven"
    ),
    409: failure(
        "Another task with its `unique_key` has not ended.",
        twin=f"Task {UUID_EXAMPLE} has the same type and unique_key and has not ended",
    ),
}
PRIORITIZED = {
    200: CHANGED,
    400: failure("The body is invalid.", too_large="priority must be an integer from 0 to 100, not 101"),
    **NO_TASK,
    409: failure(
        "The task is not pending.", running="Task is processing; only the priority of a pending task can be changed"
    ),
}
QUEUED_EXAMPLES = [
    answered("stored", {"task_id": UUID_EXAMPLE}),
    answered("found by its unique key", {"task_id": UUID_EXAMPLE, "existing": True}),
]
QUEUED_TOGETHER_EXAMPLE = answered("stored", {"task_ids": [UUID_EXAMPLE]})
