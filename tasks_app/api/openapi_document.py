"""Completes the OpenAPI document that drf-spectacular makes of the views."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.conf import settings

from tasks_app.conf import handlers

_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorObject"}}}
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait before a retry."}}
#: Failures of every call, by status.
_COMMON_FAILURES: dict[str, dict[str, Any]] = {
    "400": {"description": "The request is malformed, or its Host header is not allowed.", "content": _ERROR},
    "405": {
        "description": "The method is not allowed; the Allow header has those that are.",
        "content": _ERROR,
        "headers": {"Allow": {"schema": {"type": "string"}}},
    },
    "500": {
        "description": "A bug in the daemon. Its log has the details under the same request_id.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InternalError"}}},
    },
    "503": {"description": "The database cannot be used, or the daemon is stopping or overloaded.", "content": _ERROR},
}
#: Failures of a call with a body.
_BODY_FAILURES: dict[str, dict[str, Any]] = {
    "408": {"description": "The body did not arrive in time (DAEMON_BODY_TIMEOUT).", "content": _ERROR},
    "413": {"description": "The body is larger than DAEMON_MAX_BODY.", "content": _ERROR},
}
_CROSS_SITE = "a page of another site made the call"
_NO_SCOPE = "the API key lacks the scope"
_NO_TYPE = "it is not for the task's type"
_NO_KEY = {
    "description": "A valid API key is required.",
    "content": _ERROR,
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
}
_INTERNAL = {
    "type": "object",
    "description": "A bug in the daemon.",
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error", "request_id"],
}


def _summary_and_description(text: str) -> dict[str, str]:
    """Split a view's docstring. Swagger UI shows the first sentence beside the address."""
    summary, _, more = " ".join(text.split()).partition(". ")
    return {"summary": summary.rstrip("."), **({"description": more} if more else {})}


def _forbidden(method: str, operation: dict[str, Any]) -> str:
    """When a call is 403, in a sentence; "" if never."""
    reasons = [_NO_SCOPE] if "security" in operation else []
    if "requestBody" in operation:
        reasons.append(_NO_TYPE)
    if method in ("post", "delete"):
        reasons.append(_CROSS_SITE)
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
    for name in ("TaskObject", "TaskPart"):
        reason = schemas[name]["properties"]["failure_reason"]
        reason["oneOf"] = [*reason.pop("allOf"), {"type": "null"}]
    result["paths"] = {address: item for address, item in result["paths"].items() if not address.endswith("/")}
    for item in result["paths"].values():
        for method, operation in item.items():
            answers = operation["responses"]
            operation.update(_summary_and_description(operation.pop("description")))
            if "security" in operation:
                answers.setdefault("401", _NO_KEY)
            for status, answer in (_COMMON_FAILURES | (_BODY_FAILURES if "requestBody" in operation else {})).items():
                answers.setdefault(status, dict(answer))
            if forbidden := _forbidden(method, operation):
                answers.setdefault("403", {"description": forbidden, "content": _ERROR})
            for status in ("429", "503"):
                if status in answers:
                    headers = {**answers[status].get("headers", {}), **_RETRY_AFTER}
                    answers[status] = {**answers[status], "headers": headers}
            for status, answer in answers.items():
                answer["description"] = answer["description"] or HTTPStatus(int(status)).phrase
            operation["responses"] = dict(sorted(answers.items()))
    return result
