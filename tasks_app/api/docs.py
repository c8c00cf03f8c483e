"""The OpenAPI document, Swagger UI and ReDoc. The daemon serves every file of them."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseNotModified
from django.templatetags.static import static
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from tasks_app.api.view import PublicAPI
from tasks_app.conf import handlers

# Completes the OpenAPI document that drf-spectacular makes of the views.

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
