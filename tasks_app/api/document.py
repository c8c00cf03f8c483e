"""The OpenAPI document of all calls, and the pages that show it."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseNotModified
from django.templatetags.static import static
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from tasks_app.api.repeats import HEADER, KEY_PATTERN, REPLAYED
from tasks_app.api.schema import UUID_EXAMPLE
from tasks_app.api.view import PublicAPI
from tasks_app.conf import handlers

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


def _fitting(example: Any) -> Any:
    """A request's example, with a handler of this daemon instead of one that it does not have."""
    known = handlers()
    if isinstance(example, list):
        return [_fitting(each) for each in example]
    if not isinstance(example, dict) or not known:
        return example
    example = {name: _fitting(value) for name, value in example.items()}
    if "type" in example:
        if example["type"] not in known:
            example["type"] = next(iter(known))
            example.pop("data", None)  # what it takes, nobody knows
        if "timeout" in example:
            example["timeout"] = min(example["timeout"], known[example["type"]].longest_timeout)
    return example


def _fit_examples(operation: dict[str, Any]) -> None:
    """Let the examples of a call's request name handlers of this daemon."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for example in content.get("examples", {}).values():
            example["value"] = _fitting(example["value"])
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "type":
            names = list(handlers())[:2]
            listed = parameter["schema"]["type"] == "array"
            parameter["schema"]["examples"] = [names[:1], names] if listed else names[:1]


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
            _fit_examples(operation)
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
            operation.setdefault("security", [])  # it needs no key
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
    found = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return dict(json.loads(json.dumps(found)))


@lru_cache(maxsize=1)
def _document(types: tuple[tuple[str, float], ...]) -> tuple[bytes, str]:
    """The document's bytes and ETag. Cached: it takes a quarter of a second, and changes only with the handlers."""
    text = json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode()
    return text, f'"{hashlib.sha256(text).hexdigest()[:32]}"'


class SchemaView(PublicAPI):
    """`GET /openapi.json`."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        text, tag = _document(tuple((name, known.longest_timeout) for name, known in handlers().items()))
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if tag in request.headers.get("If-None-Match", ""):
            return HttpResponseNotModified(headers=headers)
        return HttpResponse(text, content_type="application/json", headers=headers)


class PageView(PublicAPI):
    """`GET /docs` and `GET /redoc`."""

    title, bundle, style, start = "", "", "", ""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
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


swagger = PageView.as_view(
    title="Task platform: try the API", bundle=f"{_SIDE}/swagger-ui-dist/swagger-ui-bundle.js",
    style=f"{_SIDE}/swagger-ui-dist/swagger-ui.css", start=_SWAGGER,
)  # fmt: skip
redoc = PageView.as_view(
    title="Task platform: the API", bundle=f"{_SIDE}/redoc/bundles/redoc.standalone.js", start=_REDOC
)
