"""The OpenAPI document, Swagger UI and ReDoc. The daemon serves every file of them."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

from django.http import HttpResponse, HttpResponseNotModified
from django.templatetags.static import static
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from tasks_app.api.view import PublicAPI

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
