"""The OpenAPI document, and two readers of it whose every byte is served from here."""

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

from tasks_app.api.tasks import API

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
# `validatorUrl` is a badge that would send the document to somebody else's server.
_SWAGGER = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null, deepLinking: true,
  displayRequestDuration: true, tryItOutEnabled: true, defaultModelsExpandDepth: 0});"""
_REDOC = """Redoc.init("/openapi.json", {hideDownloadButton: false}, document.getElementById("page"));"""


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    found = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return dict(json.loads(json.dumps(found)))


@cache
def _document() -> tuple[bytes, str]:
    """Its bytes and their ETag. Made once: it takes a quarter of a second and never changes while we run."""
    text = json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode()
    return text, f'"{hashlib.sha256(text).hexdigest()[:32]}"'


class SchemaView(API):
    """`GET /openapi.json`."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """The document that this page shows."""
        text, tag = _document()
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if tag in request.headers.get("If-None-Match", ""):
            return HttpResponseNotModified(headers=headers)
        return HttpResponse(text, content_type="application/json", headers=headers)


class _Page(API):
    title, bundle, style, start = "", "", "", ""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """HTML."""
        style = f'<link rel="stylesheet" href="{static(self.style)}">\n' if self.style else ""
        icon, bundle = static(f"{_SIDE}/swagger-ui-dist/favicon-32x32.png"), static(self.bundle)
        text = _PAGE.format(title=self.title, icon=icon, style=style, bundle=bundle, start=self.start)
        started = base64.b64encode(hashlib.sha256(self.start.encode()).digest()).decode()
        # What a bundle would still fetch elsewhere (a logo) the browser refuses.
        policy = (
            f"default-src 'self'; script-src 'self' 'sha256-{started}'; style-src 'self' 'unsafe-inline'; "
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
