"""Answers as compact JSON, whatever the client accepts; and every failure as one, never HTML or a traceback.

The answer to a failure is `{"error": "<one sentence>"}` with the right status.
"""

from __future__ import annotations

import json
import sys
import uuid
from datetime import datetime
from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from rest_framework import exceptions, status
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder

from tasks_app.db.write_health import WriteRefused
from tasks_app.handlers.words import rfc3339
from tasks_app.keys.caller import Forbidden
from tasks_app.queue.current import store
from tasks_app.queue.submission import KeyReused, KeysContended

# Renders answers as compact JSON in UTF-8, whatever the Accept header says.


class AnswerEncoder(JSONEncoder):
    """Moments as all answers have them."""

    def default(self, obj: Any) -> Any:
        return rfc3339(obj) if isinstance(obj, datetime) else super().default(obj)


def dump(data: Any) -> bytes:
    """Compact JSON: scripts search for `"status":"healthy"`. Never fails on strings."""
    text = json.dumps(data, cls=AnswerEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # UTF-8 cannot encode half a surrogate pair. JSON's escape for it has the same form as Python's.
    return text.encode("utf-8", "backslashreplace")


class CompactJSON(JSONRenderer):
    """JSON without spaces."""

    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """`data` as JSON. Bytes are JSON already; None is no body."""
        if isinstance(data, bytes):
            return data
        return b"" if data is None else dump(data)


class AlwaysJSON(BaseContentNegotiation):
    """Ignores what the client accepts: a browser on an API route gets JSON too."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


log = structlog.get_logger(__name__)

#: Seconds, as the value of the Retry-After header.
RETRY_AFTER = "2"

UNAVAILABLE = "the database cannot be used now (unreachable, busy or full); try again"
#: How the next sentence ends; a form of the admin has no such key.
WITH_A_KEY = "; with an Idempotency-Key, the same request can be sent again as it is"
#: A commit may have succeeded although its answer was lost.
OUTCOME_UNKNOWN = (
    "the database cannot be used now (unreachable, busy or full), and it is unknown whether this request took effect; "
    f"check before you try again{WITH_A_KEY}"
)
WRITES_REFUSED = (
    "the database takes no writes now (it is read-only, a standby, or its disk is full), so nothing was changed; "
    "try again"
)


class NotFound(exceptions.APIException):
    """404 with its own sentence."""

    status_code = status.HTTP_404_NOT_FOUND
    default_detail = "Task not found"


class Conflict(exceptions.APIException):
    """409: the task's status does not allow the call."""

    status_code = status.HTTP_409_CONFLICT


class Invalid(exceptions.APIException):
    """400 with one sentence, and `details` [{"field": ..., "error": ...}] if there are several faults.

    With a `sentence`, `details` is always there.
    """

    status_code: int = status.HTTP_400_BAD_REQUEST

    def __init__(self, faults: list[tuple[str, str]], sentence: str | None = None) -> None:
        self.faults = faults
        self.detailed = sentence is not None or len(faults) > 1
        super().__init__(sentence or "; ".join(text for _, text in faults))


class TooLarge(Invalid):
    """413: as Invalid, for values that are too large to be stored."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE


class Stopping(exceptions.APIException):
    """503: the system is stopping."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "the daemon is stopping and accepts no new tasks; try again later"


class TooMany(exceptions.APIException):
    """429: the queue is full, or the rate limit is exceeded."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS


class QueueFull(TooMany):
    """429: as many tasks wait as may."""


class TooFast(TooMany):
    """429: a rate is exceeded. The next task is accepted after so many seconds."""

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


def error_bytes(sentence: str, details: list[dict[str, str]] | None = None) -> bytes:
    """The body of every failure."""
    return dump({"error": sentence, **({"details": details} if details else {})})


def json_error(sentence: str, code: int, **headers: str) -> HttpResponse:
    """A failure, with a Retry-After header if it is one that may pass."""
    headers = {"Retry-After": RETRY_AFTER, **headers} if code in (429, 503) else headers
    return HttpResponse(error_bytes(sentence), status=code, headers=headers, content_type="application/json")


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's EXCEPTION_HANDLER."""
    if isinstance(error, Invalid):
        details = [{"field": field, "error": text} for field, text in error.faults] if error.detailed else None
        body = error_bytes(str(error.detail), details)
        return HttpResponse(body, status=error.status_code, content_type="application/json")
    if isinstance(error, Http404):
        return json_error("no such page; see /docs", 404)
    if isinstance(error, exceptions.MethodNotAllowed):
        allowed = ", ".join(context["view"].allowed_methods)
        hint = context["view"].elsewhere.get(context["request"].method, "")
        # The method as it was sent: Django's is in capitals.
        method = context["request"].META["REQUEST_METHOD"].strip("()")[:20]
        return json_error(f"{method} is not allowed here; use {allowed}{hint}", 405, Allow=allowed)
    if isinstance(error, Forbidden):
        return json_error(str(error), 403)
    if isinstance(error, exceptions.APIException):
        challenge = getattr(error, "auth_header", "")
        headers = {"WWW-Authenticate": challenge} if challenge else {}
        if isinstance(error, TooFast):
            headers["Retry-After"] = str(error.retry_after)
        return json_error(_sentence(error.detail), error.status_code, **headers)
    return _refusal(error, context["request"].method if context.get("request") else None)


def _sentence(detail: Any) -> str:
    if isinstance(detail, list):
        return "; ".join(_sentence(one) for one in detail)
    if isinstance(detail, dict):
        return "; ".join(f"{key}: {_sentence(one)}" for key, one in detail.items())
    return str(detail)


def _refusal(error: BaseException, method: str | None) -> HttpResponse | None:
    """The answer if the database cannot be used, or a submission was refused because of its keys."""
    advice = store().advice(error) if isinstance(error, DatabaseError) and store().lacks_tables(error) else None
    if advice or isinstance(error, (OperationalError, InterfaceError)):
        log.error("the database cannot be used", error=str(error))
        if advice:
            return json_error(advice, 503)
        if isinstance(error, WriteRefused):
            return json_error(WRITES_REFUSED, 503)
        return json_error(UNAVAILABLE if method in SAFE_METHODS else OUTCOME_UNKNOWN, 503)
    if isinstance(error, KeyReused):
        first = f"whose first task is {error.task}" if error.path is None else f"POST {error.path}"
        return json_error(f"this Idempotency-Key was used for another request, {first}; use a new key", 422)
    if isinstance(error, KeysContended):
        return json_error(
            "tasks with the same keys end again and again while this request looks for them; try again", 503
        )
    return None


def crash(error: BaseException, method: str | None = None) -> HttpResponse:
    """The answer to an unhandled exception. For a bug it is 500 with an id, under which the log has the traceback."""
    if (refusal := _refusal(error, method)) is not None:
        return refusal
    if isinstance(error, RequestDataTooBig):
        return json_error("the body is too large", 413)
    if isinstance(error, UnreadablePostError):
        return json_error("the body could not be read", 400)
    if isinstance(error, SuspiciousOperation):
        return json_error(f"bad request: {error}", 400)
    request_id = uuid.uuid4().hex
    log.error("internal error", request_id=request_id, exc_info=error)
    body = {"error": "internal error", "request_id": request_id}
    return HttpResponse(dump(body), status=500, content_type="application/json")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    return json_error(f"bad request: {str(exception)[:200]}" if str(exception) else "bad request", 400)


#: At the end of a sentence about a POST to another address.
POSTED_TO = "; tasks are posted to /queue"


def no_such_page(path: str, method: str | None = None) -> str:
    """The sentence for an unknown address."""
    return f"no such page: {path[:200]}; see /docs{POSTED_TO if method == 'POST' else ''}"


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500, for exceptions of middleware, such as the session's if the database is down."""
    return crash(sys.exc_info()[1] or RuntimeError("handler500 without an exception"))
