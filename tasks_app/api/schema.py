"""The shapes of the OpenAPI document. They describe; `inputs.py` checks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers

from tasks_app.api.bearer import is_open
from tasks_app.conf import handlers
from tasks_app.models import FailureReason, Status

_UUID = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObject(serializers.JSONField):
    """A JSON object."""


@extend_schema_field({})
class JSONValue(serializers.JSONField):
    """Any JSON value."""


@extend_schema_field({"type": "string", "nullable": True, "enum": [*FailureReason.values, None]})
class Reason(serializers.ChoiceField):
    """Why a task failed, or null."""


class NewTask(serializers.Serializer):
    """A task to queue."""

    type = serializers.CharField(help_text="The name of a handler in handlers.toml.")
    data = JSONObject(  # type: ignore[assignment]
        required=False,
        default=dict,
        help_text="What the handler gets; it decides what is in it. No NUL in any string, at most 64 levels deep.",
    )
    priority = serializers.IntegerField(
        required=False,
        default=50,
        min_value=0,
        max_value=100,
        help_text="Larger first, when DAEMON_TASK_SELECTION=priority.",
    )


class NewTasks(serializers.Serializer):
    """Tasks to queue, all or none."""

    tasks = serializers.ListField(child=NewTask(), min_length=1, max_length=1000)


class Queued(serializers.Serializer):
    """A task was stored."""

    task_id = serializers.UUIDField()


class QueuedTogether(serializers.Serializer):
    """All of the tasks were stored."""

    task_ids = serializers.ListField(child=serializers.UUIDField(), help_text="In the order of `tasks`.")


class TaskObject(serializers.Serializer):
    """A task."""

    id = serializers.UUIDField()
    task_type = serializers.CharField()
    task_data = JSONObject()
    status = serializers.ChoiceField(choices=Status.choices)
    priority = serializers.IntegerField(min_value=0, max_value=100)
    attempts = serializers.IntegerField(min_value=0, help_text="How often it was started.")
    result = JSONValue(help_text="What the handler answered: any JSON value; null until it has.")
    last_error = serializers.CharField(allow_null=True)
    failure_reason = Reason(
        choices=FailureReason.choices, allow_null=True, help_text="Why it failed; null: it has not."
    )
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True, help_text="Start of the last attempt.")
    completed_at = serializers.DateTimeField(allow_null=True, help_text="When it ended, completed or failed.")
    due_at = serializers.DateTimeField(allow_null=True, help_text="Until when it waits, while it waits for a retry.")


class ErrorDetail(serializers.Serializer):
    """One fault."""

    field = serializers.CharField(help_text="Where; empty: the whole request.")
    error = serializers.CharField()


class ErrorObject(serializers.Serializer):
    """A failure."""

    error = serializers.CharField(help_text="What is wrong, in one sentence.")
    details = ErrorDetail(many=True, required=False, help_text="One entry a fault, where there are several.")


def _failure(sentence: str, **examples: str) -> OpenApiResponse:
    shown = [OpenApiExample(name.replace("_", " "), {"error": text}) for name, text in examples.items()]
    return OpenApiResponse(ErrorObject, sentence, examples=shown)


def _header(name: str, what: str, *statuses: int, kind: Any = str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=what, response=list(statuses))


TASK_ID = OpenApiParameter("task_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The task's id.")
LOCATION = _header("Location", "The task's address.", 200)
LINK = _header("Link", 'The next page, `<...>; rel="next"`; absent on the last one.', 200)
LISTING = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20},
        description="How many at most. A page whose data and results are over about 16 MiB ends earlier.",
    ),
    OpenApiParameter(
        "cursor", OpenApiTypes.UUID, description="Where the page begins: from the last page's Link header."
    ),
    OpenApiParameter("status", str, enum=list(Status.values), description="Only tasks of this status."),
    OpenApiParameter(
        "type", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"}, description="Only tasks of this type."
    ),
    LINK,
]

_BAD = {400: _failure("Something in the request is wrong: what, where, and what would be right.")}
_NO_TASK = {404: _failure("No such task.", missing="Task not found")}
QUEUED = {
    200: OpenApiResponse(Queued, "Stored, and safe from a power cut."),
    400: _failure(
        "Something in the request is wrong: what, where, and what would be right.",
        misspelt='no handler is named "reisze"; handlers.toml has echo, prime, resize; did you mean "resize"?',
    ),
    408: _failure("The body did not come in time (DAEMON_BODY_TIMEOUT)."),
    413: _failure("The body is larger than DAEMON_MAX_BODY."),
    429: _failure("DAEMON_MAX_QUEUE tasks wait already; come back after Retry-After seconds."),
}
QUEUED_TOGETHER = {
    200: OpenApiResponse(QueuedTogether, "All of them are stored, and safe from a power cut."),
    400: _failure(
        "Something in the request is wrong, and nothing was stored. `details` names each fault by its task's index.",
        misspelt=(
            "1 of 100 tasks are wrong, none was stored: tasks[7].type: "
            'no handler is named "reisze"; handlers.toml has echo, prime, resize; did you mean "resize"?'
        ),
    ),
    408: QUEUED[408],
    413: _failure("The body is larger than eight times DAEMON_MAX_BODY."),
    429: _failure("With these over DAEMON_MAX_QUEUE tasks would wait; come back after Retry-After seconds."),
}
ONE = {200: TaskObject, **_NO_TASK}
LISTED = {200: TaskObject(many=True), **_BAD}
DELETED = {204: OpenApiResponse(None, "It is gone."), **_NO_TASK}
REDRIVEN = {
    200: TaskObject,
    404: _failure("No such task, or it is not failed.", not_failed="Task not found, or it is not failed"),
}
QUEUE_EXAMPLES = [
    OpenApiExample("prime", {"type": "prime", "data": {"limit": 1000000}}, request_only=True),
    OpenApiExample("first of all", {"type": "echo", "data": {"hello": "world"}, "priority": 100}, request_only=True),
    OpenApiExample(
        "picture",
        {"type": "resize", "data": {"url": "https://example.com/image.jpg", "width": 64}, "priority": 75},
        request_only=True,
    ),
    OpenApiExample("stored", {"task_id": _UUID}, response_only=True, status_codes=["200"]),
]

BATCH_EXAMPLES = [
    OpenApiExample(
        "two",
        {"tasks": [{"type": "prime", "data": {"limit": 1000}}, {"type": "echo", "priority": 100}]},
        request_only=True,
    ),
    OpenApiExample("stored", {"task_ids": [_UUID]}, response_only=True, status_codes=["200"]),
]

_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorObject"}}}
_COME_BACK = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds after which it makes sense to come back."}
}
#: What any call can meet, by status.
_ANYWHERE: dict[str, dict[str, Any]] = {
    "400": {"description": "The request is malformed, or its Host header is not ours.", "content": _ERROR},
    "405": {
        "description": "This method is not allowed here; Allow has those that are.",
        "content": _ERROR,
        "headers": {"Allow": {"schema": {"type": "string"}}},
    },
    "500": {
        "description": "A bug of ours. The log has more under the same request_id.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InternalError"}}},
    },
    "503": {"description": "The database cannot be reached, or too much is on its way.", "content": _ERROR},
}
_FOREIGN = {"description": "The call came from another site.", "content": _ERROR}
_NO_KEY = {
    "description": "Without a good API key, where one is needed.",
    "content": _ERROR,
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
}
_SCHEMES = {
    "APIKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "From `manage.py apikey create NAME`. Needed beyond loopback, and once a first key was made.",
    }
}
_INTERNAL = {
    "type": "object",
    "description": "A bug of ours.",
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error", "request_id"],
}


def whole(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: adds to each operation what any call can meet, and leaves each address once."""
    schemas = result["components"]["schemas"]
    schemas["InternalError"] = _INTERNAL
    new = schemas["NewTaskRequest"]
    new["additionalProperties"] = schemas["NewTasksRequest"]["additionalProperties"] = False
    # The truth of this deployment: any other is refused.
    new["properties"]["type"]["enum"] = sorted(handlers())
    result["components"]["securitySchemes"] = _SCHEMES
    result["paths"] = {address: item for address, item in result["paths"].items() if not address.endswith("/")}
    for address, item in result["paths"].items():
        for method, operation in item.items():
            answers = operation["responses"]
            if not is_open(address):
                # The empty one: without a key, where none is needed.
                operation["security"] = [{"APIKey": []}, {}]
                answers.setdefault("401", _NO_KEY)
            for status, answer in _ANYWHERE.items():
                answers.setdefault(status, dict(answer))
            if method in ("post", "delete"):
                answers.setdefault("403", _FOREIGN)
            for status in ("429", "503"):
                if status in answers:
                    answers[status] = {**answers[status], "headers": _COME_BACK}
            for status, answer in answers.items():
                answer["description"] = answer["description"] or HTTPStatus(int(status)).phrase
            operation["responses"] = dict(sorted(answers.items()))
    return result
