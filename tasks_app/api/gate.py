"""The first thing a request meets: whose Host, whose Origin, how large; and the last: what nobody caught."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.http.multipartparser import MultiPartParserError

from tasks_app import conf
from tasks_app.api.errors import crash, json_error
from tasks_app.api.wording import literal

SAFE = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Refuses what no page of ours sends. A JSON body needs no CORS preflight once its Content-Type is a form's, so
    without this any web page could post to a daemon on localhost."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        _without_nul(request)
        try:
            response = _host(request) or _origin(request) or _size(request) or _preflight(request)
        except OSError:  # the client went, or the server lost it, while the body was read
            response = json_error("the body could not be read", 400)
        response = _as_json(request, response or self._get_response(request))
        _share(request, response)
        if response.status_code in (204, 304):
            response.headers.pop("Content-Type", None)  # no body, so no type and no length of one
            response.headers.pop("Content-Length", None)
        elif not response.streaming:
            if not response.content:  # type: ignore[attr-defined]
                response.headers.pop("Content-Type", None)
            response.setdefault("Content-Length", str(len(response.content)))  # type: ignore[attr-defined]
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """What a view outside DRF raised. Django answers its own refusals, through our handler400, 403 and 404."""
        if isinstance(error, (Http404, PermissionDenied, BadRequest, MultiPartParserError)):
            return None
        return crash(error, request.method)


def _as_json(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """A failure that somebody else worded, or left without a word, in our words; the admin may have pages for one."""
    if response.status_code < 400 or response.get("Content-Type", "").startswith("application/json"):
        return response
    if request.path.startswith("/admin/") and not response.streaming and response.content:  # type: ignore[attr-defined]
        return response
    ours = json_error(response.reason_phrase.lower(), response.status_code)
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if name in response:
            ours[name] = response[name]
    return ours


def _without_nul(request: HttpRequest) -> None:
    """A quoted cookie can write a NUL (`\\000`), which PostgreSQL refuses: no session of such a name is looked for."""
    if "\\0" in request.META.get("HTTP_COOKIE", ""):
        request.COOKIES = {name: value.replace("\0", "") for name, value in request.COOKIES.items()}


def _host(request: HttpRequest) -> HttpResponseBase | None:
    try:
        request.get_host()
    except DisallowedHost:
        host = literal(request.META.get("HTTP_HOST", ""))
        return json_error(f"the Host header {host} is not ours; add it to DAEMON_ALLOWED_HOSTS if it is", 400)
    return None


def _origin(request: HttpRequest) -> HttpResponseBase | None:
    if request.method in SAFE:
        return None
    origin = request.headers.get("Origin")
    if origin is not None:
        if origin in settings.CSRF_TRUSTED_ORIGINS or origin == f"{request.scheme}://{request.get_host()}":
            return None
        return json_error(
            f"the origin {literal(origin)} may not call this; add it to DAEMON_ALLOWED_ORIGINS if it may", 403
        )
    if request.headers.get("Sec-Fetch-Site", "none").strip().lower() in ("cross-site", "same-site"):
        return json_error("another site may not call this", 403)
    return None


def _size(request: HttpRequest) -> HttpResponseBase | None:
    limit = conf.environment().body_limit(request.path_info)
    too_large = f"the body is larger than {limit:,} bytes; put large data elsewhere and send its address"
    declared = request.META.get("CONTENT_LENGTH") or ""
    if declared:
        if not declared.isascii() or not declared.isdigit():
            return json_error("the Content-Length header is not a number", 400)
        if len(declared) > 18 or int(declared) > limit:
            return json_error(too_large, 413, Connection="close")
        return None
    if request.method not in SAFE and "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        # WSGI has no length for it, and Django would read it as empty. (`Front` leaves none of these over.)
        body = request.META["wsgi.input"].read(limit + 1)
        if len(body) > limit:
            return json_error(too_large, 413, Connection="close")
        request.META["CONTENT_LENGTH"] = str(len(body))
        request._stream = BytesIO(body)
    return None


def _preflight(request: HttpRequest) -> HttpResponseBase | None:
    """The answer to a browser that asks before it lets an allowed origin's page call us."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers or not _allowed(request):
        return None
    return HttpResponse(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
            "Access-Control-Allow-Headers": "authorization, content-type",
            "Access-Control-Max-Age": "600",
        },
    )


def _share(request: HttpRequest, response: HttpResponseBase) -> None:
    """Let a page of an allowed origin read the answer."""
    if settings.CSRF_TRUSTED_ORIGINS:
        response["Vary"] = ", ".join(filter(None, (response.get("Vary"), "Origin")))
        if _allowed(request):
            response["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response["Access-Control-Expose-Headers"] = "Link, Location, Retry-After"


def _allowed(request: HttpRequest) -> bool:
    return request.headers.get("Origin") in settings.CSRF_TRUSTED_ORIGINS
