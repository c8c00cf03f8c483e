"""Refusals before the views: by middleware, which checks the Host, Origin and size of a request, and by the event loop.

The middleware also says whose request it is, and answers unhandled exceptions.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from itertools import chain
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from rest_framework.permissions import SAFE_METHODS

from tasks_app import conf
from tasks_app.admin.pages import Refusal
from tasks_app.api.errors import crash, error_bytes, json_error
from tasks_app.field import literal
from tasks_app.keys.caller import DIRECT, client_address, is_direct
from tasks_app.metrics.local_counters import process
from tasks_app.web.admin_failures import bare_page

log = structlog.get_logger(__name__)

ADMIN_REMEDY = (
    "the admin takes forms of its own pages only, whatever DAEMON_ALLOWED_ORIGINS says; behind a proxy with TLS set "
    "DAEMON_TLS=true, and let it pass Host on"
)


class RequestGuard:
    """Refuses requests of other sites' pages. POST /queue accepts JSON under the content type of a form, which needs no
    CORS preflight: without this, any web page could post to a daemon on localhost."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        _without_nul(request)
        _say_whose(request)
        try:
            response = _host(request) or _origin(request) or _size(request) or _nul(request)
        except OSError:  # the connection was lost while the body was read
            response = json_error("the body could not be read", 400)
        response = _as_json(request, response or self._get_response(request))
        if response.status_code in (204, 304):
            response.headers.pop("Content-Type", None)  # there is no body
            response.headers.pop("Content-Length", None)
        elif not response.streaming:
            if not response.content:  # type: ignore[attr-defined]
                response.headers.pop("Content-Type", None)
            response.setdefault("Content-Length", str(len(response.content)))  # type: ignore[attr-defined]
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Answer exceptions of views outside DRF. Django passes its own refusals to handler400, 403 and 404."""
        if isinstance(error, Refusal):
            return json_error(str(error), error.status)
        if isinstance(error, (Http404, PermissionDenied, BadRequest, MultiPartParserError)):
            return None
        return crash(error, request.method)


def _as_json(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Replace a failure that is not JSON, such as WhiteNoise's, by JSON. The admin keeps its HTML pages."""
    if response.status_code < 400 or response.get("Content-Type", "").startswith("application/json"):
        return response
    if request.path.startswith("/admin/") and not response.streaming and response.content:  # type: ignore[attr-defined]
        return response
    replacement = json_error(response.reason_phrase.lower(), response.status_code)
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if name in response:
            replacement[name] = response[name]
    return replacement


def _without_nul(request: HttpRequest) -> None:
    """Remove NULs, which PostgreSQL refuses in a session key. A quoted cookie can contain one as `\\000`."""
    if "\\0" in request.META.get("HTTP_COOKIE", ""):
        request.COOKIES = {name: value.replace("\0", "") for name, value in request.COOKIES.items()}


def _say_whose(request: HttpRequest) -> None:
    """From here on REMOTE_ADDR is the client's address, also behind a trusted proxy."""
    env, meta = conf.environment(), request.META
    peer = meta.get("REMOTE_ADDR", "")
    meta[DIRECT] = is_direct(env, peer, map(str.lower, request.headers))
    meta["REMOTE_ADDR"] = client_address(env, peer, meta.get("HTTP_X_FORWARDED_FOR"))


def _host(request: HttpRequest) -> HttpResponseBase | None:
    try:
        request.get_host()
    except DisallowedHost:
        host = literal(request.META.get("HTTP_HOST", ""))
        return json_error(f"the Host header {host} is not allowed; add it to DAEMON_ALLOWED_HOSTS to allow it", 400)
    return None


def _origin(request: HttpRequest) -> HttpResponseBase | None:
    if request.method in SAFE_METHODS:
        return None
    origin = request.headers.get("Origin")
    if origin is not None:
        admin = request.path_info.startswith("/admin/")
        allowed = [] if admin else settings.CORS_ALLOWED_ORIGINS
        if origin in allowed or origin == f"{request.scheme}://{request.get_host()}":
            return None
        remedy = ADMIN_REMEDY if admin else "add it to DAEMON_ALLOWED_ORIGINS to allow it"
        return json_error(f"the origin {literal(origin)} is not allowed; {remedy}", 403)
    if request.headers.get("Sec-Fetch-Site", "none").strip().lower() in ("cross-site", "same-site"):
        return json_error("pages of other sites may not call this", 403)
    return None


def _size(request: HttpRequest) -> HttpResponseBase | None:
    limit = conf.environment().body_limit(request.path_info)
    too_large = f"the body is larger than {limit:,} bytes; store large data elsewhere and send its address"
    declared = request.META.get("CONTENT_LENGTH") or ""
    if declared:
        if not declared.isascii() or not declared.isdigit():
            return json_error("the Content-Length header is not a number", 400)
        if len(declared) > 18 or int(declared) > limit:
            return json_error(too_large, 413, Connection="close")
        return None
    if request.method not in SAFE_METHODS and "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        # Under another WSGI server: such a request has no length, so Django would read an empty body.
        body = request.META["wsgi.input"].read(limit + 1)
        if len(body) > limit:
            return json_error(too_large, 413, Connection="close")
        request.META["CONTENT_LENGTH"] = str(len(body))
        request._stream = BytesIO(body)
    return None


def _nul(request: HttpRequest) -> HttpResponseBase | None:
    """Refuse a NUL in what a page is sent: no form has one, and PostgreSQL fails at a text with one."""
    if request.path_info.startswith("/admin/"):
        for name, values in chain(request.GET.lists(), request.POST.lists()):
            if any("\0" in text for text in (name, *values)):
                return json_error(
                    f"the value or the name of {literal(name)} has a NUL, which no text here may have", 400
                )
    return None


class RequestRefused(Exception):
    """A request that is refused without the WSGI application."""

    def __init__(self, status: int, sentence: str, *headers: tuple[str, str]) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers


def refuse(scope: Any, proto: Any, error: RequestRefused) -> None:
    """Answer without the application and close the connection: a page for a browser in the admin, JSON elsewhere.

    Ignores a closed connection.
    """
    page = scope.path.startswith("/admin/") and "text/html" in (scope.headers.get("accept") or "")
    kind, body = "application/json", error_bytes(str(error))
    if page:
        kind, body = "text/html; charset=utf-8", bare_page(error.status, str(error))
    headers = [("content-type", kind), ("connection", "close"), *error.headers, *_cors(scope)]
    process.add(f"http|{error.status}|refused|other")
    try:
        proto.response_bytes(error.status, headers, body)
    except Exception as failure:
        log.debug("the refusal could not be sent", error=str(failure))


def _cors(scope: Any) -> list[tuple[str, str]]:
    """What lets a page of an allowed origin read the refusal, as the application's answers have it."""
    if (origin := scope.headers.get("origin")) not in settings.CORS_ALLOWED_ORIGINS:
        return []
    return [
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", ", ".join(settings.CORS_EXPOSE_HEADERS)),
        ("vary", "origin"),
    ]
