"""The first thing a request meets: whose Host, whose Origin, how large; and the last: what nobody caught."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase

from tasks_app.api.errors import crash, json_error

SAFE = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Refuses what no page of ours sends. A JSON body needs no CORS preflight once its Content-Type is a form's, so
    without this any web page could post to a daemon on localhost."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        refusal = _host(request) or _origin(request) or _size(request)
        response = refusal or self._get_response(request)
        if not response.streaming and not response.has_header("Content-Length"):
            response["Content-Length"] = str(len(response.content))  # type: ignore[attr-defined]
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        """What a view outside DRF raised."""
        return crash(error)


def _host(request: HttpRequest) -> HttpResponseBase | None:
    try:
        request.get_host()
    except DisallowedHost:
        shown = request.META.get("HTTP_HOST", "")[:100]
        return json_error(f"the Host header {shown!r} is not ours; add it to DAEMON_ALLOWED_HOSTS if it is", 400)
    return None


def _origin(request: HttpRequest) -> HttpResponseBase | None:
    if request.method in SAFE:
        return None
    origin = request.headers.get("Origin")
    if origin is not None:
        if origin in settings.CSRF_TRUSTED_ORIGINS or origin == f"{request.scheme}://{request.get_host()}":
            return None
        return json_error(f"the origin {origin[:100]!r} may not call this; add it to DAEMON_ALLOWED_ORIGINS if it may", 403)
    if request.headers.get("Sec-Fetch-Site", "none") == "cross-site":
        return json_error("another site may not call this", 403)
    return None


def _size(request: HttpRequest) -> HttpResponseBase | None:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    too_large = f"the body is larger than {limit:,} bytes; put large data elsewhere and send its address"
    declared = request.META.get("CONTENT_LENGTH") or ""
    if declared:
        if not declared.isdigit():
            return json_error("the Content-Length header is not a number", 400)
        if int(declared) > limit:
            return json_error(too_large, 413, Connection="close")
        return None
    if request.method not in SAFE and "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        # WSGI has no length for it, and Django would read it as empty.
        body = request.META["wsgi.input"].read(limit + 1)
        if len(body) > limit:
            return json_error(too_large, 413, Connection="close")
        request.META["CONTENT_LENGTH"] = str(len(body))
        request._stream = BytesIO(body)  # type: ignore[attr-defined]
    return None


def same_site(url: str, request: HttpRequest) -> bool:
    """Whether a URL is one of ours."""
    return urlsplit(url).netloc in ("", request.get_host())
