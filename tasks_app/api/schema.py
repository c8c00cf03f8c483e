"""The OpenAPI document: the shapes that several calls share, what completes it, and the pages that show it.

Shapes only describe. What a request may have is declared where it is read (`fields`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpResponse, HttpResponseNotModified
from django.templatetags.static import static
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers
from rest_framework.request import Request

from tasks_app.api.fields import Asks, Fields, query_parameters
from tasks_app.api.new_tasks import MAX_TAGS, TAG_PATTERN
from tasks_app.api.repeats import HEADER, KEY_PATTERN, REPLAYED
from tasks_app.api.view import PublicAPI
from tasks_app.conf import handlers
from tasks_app.queue.models import FailureReason, Status

F = TypeVar("F", bound=Callable[..., Any])
UUID_EXAMPLE = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObject(serializers.JSONField):
    """A JSON object."""


@extend_schema_field({})
class JSONValue(serializers.JSONField):
    """Any JSON value."""


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
    expires_at = serializers.DateTimeField(required=False)
    timeout = serializers.FloatField(required=False, help_text="Seconds of an attempt, if the task asked for them.")
    max_retries = serializers.IntegerField(required=False, min_value=0, help_text="If the task asked for them.")
    tags = serializers.ListField(child=serializers.RegexField(f"^{TAG_PATTERN}$"), max_length=MAX_TAGS, required=False)
    metadata = JSONObject(required=False)
    unique_key = serializers.CharField(required=False)
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


def header(name: str, what: str, *statuses: int, kind: Any = str) -> OpenApiParameter:
    """A header of the answers with these statuses."""
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=what, response=list(statuses))


TASK_ID = OpenApiParameter("task_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The task's id.")
LOCATION = header("Location", "The task's address.", 200)


_INVALID = "The request is invalid. The sentence says what is wrong, where, and what would be valid."
BAD = {400: failure(_INVALID)}
NO_TASK = {404: failure("No such task.", missing="Task not found")}
QUEUED = {
    200: OpenApiResponse(Queued, "The task is stored and survives a power cut."),
    400: failure(
        _INVALID,
        misspelt='no handler is named "reisze"; handlers.toml has echo, prime, resize; did you mean "resize"?',
    ),
    413: failure("The body, or its data once it is stored, is larger than DAEMON_MAX_BODY."),
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


# drf-spectacular makes the document of the views; this completes it.

_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait before a retry."}}


def _failure(description: str, *headers: str, shape: str = "ErrorObject") -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    shown = {"headers": {name: {"schema": {"type": "string"}} for name in headers}} if headers else {}
    return {"description": description, "content": content, **shown}


#: Failures of every call, by status.
_COMMON_FAILURES = {
    "400": _failure("The request is malformed, or its Host header is not allowed."),
    "405": _failure("The method is not allowed; the Allow header has those that are.", "Allow"),
    "500": _failure("A bug in the daemon. Its log has the details under the same request_id.", shape="InternalError"),
    "503": _failure("The database cannot be used, or the daemon is stopping or overloaded."),
}
#: Failures of a call with a body.
_BODY_FAILURES = {
    "408": _failure("The body did not arrive in time (DAEMON_BODY_TIMEOUT)."),
    "413": _failure("The body is larger than DAEMON_MAX_BODY."),
}
#: Each POST can be repeated.
_REPEATABLE = {
    "name": HEADER,
    "in": "header",
    "schema": {"type": "string", "pattern": KEY_PATTERN, "examples": ["order-7-thumbnails"]},
    "description": "A name of this request. If it is repeated, nothing is done again: it gets the first one's answer, "
    "and what was changed is shown as it is now.",
}
_REPLAYED = {
    REPLAYED: {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "Present if an earlier request with this key has done it.",
    }
}
_KEY_REUSED = _failure("Another request had this Idempotency-Key. Nothing was changed.")
_KEY_REUSED["content"]["application/json"]["examples"] = {
    name: {"value": {"error": f"this Idempotency-Key was used for another request, {first}; use a new key"}}
    for name, first in (
        ("Posted", f"whose first task is {UUID_EXAMPLE}"), ("Act", f"POST /api/tasks/{UUID_EXAMPLE}/cancel")
    )
}  # fmt: skip
_NO_KEY = _failure("A valid API key is required.", "WWW-Authenticate")
_INTERNAL = {
    "type": "object",
    "description": "A bug in the daemon.",
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error", "request_id"],
}


def _forbidden(method: str, operation: dict[str, Any]) -> str:
    """When a call is 403, in a sentence; "" if never."""
    reasons = ["the API key lacks the scope"] if "security" in operation else []
    if "requestBody" in operation:
        reasons.append("it is not for the task's type")
    if method in ("post", "delete"):
        reasons.append("a page of another site made the call")
    sentence = ", or ".join(reasons)
    return f"{sentence[:1].upper()}{sentence[1:]}." if reasons else ""


def place(call: tuple[str, str, str, Any]) -> int:
    """drf-spectacular's key of the calls' order: by the setting API_ORDER. Calls that it does not name come last."""
    address = call[0].rstrip("/")
    return settings.API_ORDER.index(address) if address in settings.API_ORDER else len(settings.API_ORDER)


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: adds summaries and common failures, and removes addresses with a slash."""
    schemas = result["components"]["schemas"]
    schemas["InternalError"] = _INTERNAL
    # A complete task is also one with some of its fields.
    listed = schemas["ListedTask"]
    listed["anyOf"] = listed.pop("oneOf")
    listed["description"] = "A task; with `fields`, only those of its fields."
    new = schemas["NewTaskRequest"]
    for name, body in schemas.items():
        if name.endswith("Request"):  # a field that no call knows is refused
            body["additionalProperties"] = False
    # No `enum`: a generated client must also work with other and later deployments.
    new["properties"]["type"]["examples"] = sorted(handlers())
    for name, field in (("TaskObject", "failure_reason"), ("TaskPart", "failure_reason"), ("AttemptObject", "outcome")):
        words = schemas[name]["properties"][field]
        words["oneOf"] = [*words.pop("allOf"), {"type": "null"}]
    result["paths"] = {address: item for address, item in result["paths"].items() if not address.endswith("/")}
    for item in result["paths"].values():
        for method, operation in item.items():
            answers = operation["responses"]
            # Swagger UI shows the first sentence of a view's docstring beside the address.
            summary, _, more = " ".join(operation.pop("description").split()).partition(". ")
            operation |= {"summary": summary.rstrip("."), **({"description": more} if more else {})}
            if "security" in operation:
                answers.setdefault("401", _NO_KEY)
            if method == "post":
                operation["parameters"] = [*operation.get("parameters", []), _REPEATABLE]
                answers["422"] = dict(_KEY_REUSED)
                for answer in (answer for status, answer in answers.items() if status[0] == "2"):
                    answer["headers"] = {**_REPLAYED, **answer.get("headers", {})}
            for status, answer in (_COMMON_FAILURES | (_BODY_FAILURES if "requestBody" in operation else {})).items():
                answers.setdefault(status, dict(answer))
            if forbidden := _forbidden(method, operation):
                answers.setdefault("403", _failure(forbidden))
            for status in ("429", "503"):
                if status in answers:
                    headers = {**answers[status].get("headers", {}), **_RETRY_AFTER}
                    answers[status] = {**answers[status], "headers": headers}
            for status, answer in answers.items():
                answer["description"] = answer["description"] or HTTPStatus(int(status)).phrase
            operation["responses"] = dict(sorted(answers.items()))
    return result


# The OpenAPI document, Swagger UI and ReDoc. The daemon serves every file of them.

_SIDE = "drf_spectacular_sidecar"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{icon}">
{style}<style>body {{ margin: 0 }}</style>
</head>
<body>
<div id="page"></div>
<script src="{bundle}"></script>
<script>{start}</script>
</body>
</html>
"""
# Without `validatorUrl: null` a badge sends the document to another server.
_SWAGGER = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null, deepLinking: true,
  displayRequestDuration: true, tryItOutEnabled: true, defaultModelsExpandDepth: 0});"""
_REDOC = """Redoc.init("/openapi.json", {hideDownloadButton: false}, document.getElementById("page"));"""


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    found = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return dict(json.loads(json.dumps(found)))


@cache
def _document() -> tuple[bytes, str]:
    """The document's bytes and ETag. Cached: it takes a quarter of a second and does not change."""
    text = json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode()
    return text, f'"{hashlib.sha256(text).hexdigest()[:32]}"'


class SchemaView(PublicAPI):
    """`GET /openapi.json`."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """The OpenAPI document."""
        text, tag = _document()
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if tag in request.headers.get("If-None-Match", ""):
            return HttpResponseNotModified(headers=headers)
        return HttpResponse(text, content_type="application/json", headers=headers)


class _Page(PublicAPI):
    title, bundle, style, start = "", "", "", ""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """The HTML page."""
        style = f'<link rel="stylesheet" href="{static(self.style)}">\n' if self.style else ""
        icon, bundle = static(f"{_SIDE}/swagger-ui-dist/favicon-32x32.png"), static(self.bundle)
        text = _PAGE.format(title=self.title, icon=icon, style=style, bundle=bundle, start=self.start)
        start_digest = base64.b64encode(hashlib.sha256(self.start.encode()).digest()).decode()
        # Keeps a bundle from loading files of other servers, such as a logo.
        policy = (
            f"default-src 'self'; script-src 'self' 'sha256-{start_digest}'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
        )
        return HttpResponse(text, headers={"Content-Security-Policy": policy})


class SwaggerView(_Page):
    """`GET /docs`."""

    title = "Task platform: try the API"
    bundle, style = f"{_SIDE}/swagger-ui-dist/swagger-ui-bundle.js", f"{_SIDE}/swagger-ui-dist/swagger-ui.css"
    start = _SWAGGER


class RedocView(_Page):
    """`GET /redoc`."""

    title = "Task platform: the API"
    bundle = f"{_SIDE}/redoc/bundles/redoc.standalone.js"
    start = _REDOC
