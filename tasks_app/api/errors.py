"""Every failure as JSON `{"error": "<one sentence>"}`, with the right status; never HTML, never a traceback."""

from __future__ import annotations

import uuid
from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions, status
from rest_framework.response import Response

log = structlog.get_logger(__name__)

#: Seconds after which it makes sense to come back.
RETRY_AFTER = "2"


class NotFound(exceptions.APIException):
    """404 with a sentence of its own."""

    status_code = status.HTTP_404_NOT_FOUND
    default_detail = "Task not found"


class Invalid(exceptions.APIException):
    """400 with one sentence, and `details` where there are several faults: [{"field": ..., "error": ...}]."""

    status_code = status.HTTP_400_BAD_REQUEST

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        self.faults = faults
        super().__init__("; ".join(text for _, text in faults))


class TooMany(exceptions.APIException):
    """429: the queue is full."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS


def error_body(sentence: str, details: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The body of every failure."""
    return {"error": sentence, **({"details": details} if details else {})}


def json_error(sentence: str, code: int, **headers: str) -> JsonResponse:
    """A failure outside DRF."""
    return JsonResponse(
        error_body(sentence),
        status=code,
        headers=headers,
        json_dumps_params={"separators": (",", ":"), "ensure_ascii": False},
    )


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's failures, and ours, in the one shape."""
    if isinstance(error, Invalid):
        details = [{"field": field, "error": text} for field, text in error.faults]
        return Response(error_body(str(error.detail), details if len(details) > 1 else None), status=400)
    if isinstance(error, Http404):
        return Response(error_body("no such page; see /docs"), status=404)
    if isinstance(error, exceptions.MethodNotAllowed):
        allowed = ", ".join(context["view"].allowed_methods)
        return Response(
            error_body(f"{context['request'].method} is not allowed here; use {allowed}"), status=405, headers={"Allow": allowed}
        )
    if isinstance(error, exceptions.APIException):
        headers = {"Retry-After": RETRY_AFTER} if error.status_code in (429, 503) else {}
        return Response(error_body(_sentence(error.detail)), status=error.status_code, headers=headers)
    if isinstance(error, (OperationalError, InterfaceError)):
        log.error("the database cannot be reached", error=str(error))
        return Response(error_body(UNREACHABLE), status=503, headers={"Retry-After": RETRY_AFTER})
    return None


UNREACHABLE = "the database cannot be reached; nothing was accepted, try again"


def _sentence(detail: Any) -> str:
    if isinstance(detail, list):
        return "; ".join(_sentence(one) for one in detail)
    if isinstance(detail, dict):
        return "; ".join(f"{key}: {_sentence(one)}" for key, one in detail.items())
    return str(detail)


def internal_error(error: BaseException) -> JsonResponse:
    """Our own bug: the caller gets an id, the log gets the rest."""
    request_id = uuid.uuid4().hex
    log.error("internal error", request_id=request_id, exc_info=error)
    return JsonResponse({"error": "internal error", "request_id": request_id}, status=500)


def crash(error: Exception) -> JsonResponse:
    """The answer to an exception that nobody caught."""
    if isinstance(error, (OperationalError, InterfaceError)):
        log.error("the database cannot be reached", error=str(error))
        return json_error(UNREACHABLE, 503, **{"Retry-After": RETRY_AFTER})
    if isinstance(error, RequestDataTooBig):
        return json_error("the body is too large", 413)
    if isinstance(error, SuspiciousOperation):
        return json_error(f"bad request: {error}", 400)
    if isinstance(error, DatabaseError):
        log.error("the database refused", error=str(error))
    return internal_error(error)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Django's handler400."""
    return json_error("bad request", 400)


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Django's handler403."""
    return json_error("forbidden", 403)


def page_not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Django's handler404."""
    return json_error(f"no such page: {request.path[:200]}; see /docs", 404)


def server_error(request: HttpRequest) -> JsonResponse:
    """Django's handler500, for what the gate did not see."""
    return json_error("internal error", 500)


def csrf_failure(request: HttpRequest, reason: str = "") -> JsonResponse:
    """A form of the admin without its token."""
    return json_error("the form is too old or came from another site; go back, reload, try again", 403)
