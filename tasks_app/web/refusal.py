"""Refusals of requests that do not reach the WSGI application."""

from __future__ import annotations

from typing import Any

import structlog
from django.conf import settings
from django.utils.html import escape

from tasks_app.api.errors import error_bytes
from tasks_app.metrics.local_counters import process

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A request that is refused without the WSGI application."""

    def __init__(self, status: int, sentence: str, *headers: tuple[str, str]) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers


def refuse(scope: Any, proto: Any, error: Refused) -> None:
    """Answer without the application and close the connection: a page for a browser in the admin, JSON elsewhere.

    Ignores a closed connection.
    """
    page = scope.path.startswith("/admin/") and "text/html" in (scope.headers.get("accept") or "")
    kind, body = ("text/html; charset=utf-8", _page(error)) if page else ("application/json", error_bytes(str(error)))
    headers = [("content-type", kind), ("connection", "close"), *error.headers, *_cors(scope)]
    process.add(f"http|{error.status}|refused|other")
    try:
        proto.response_bytes(error.status, headers, body)
    except Exception as failure:
        log.debug("the refusal could not be sent", error=str(failure))


def _page(error: Refused) -> bytes:
    """A page without a template: the event loop sends it."""
    text = f"<p>{escape(str(error))}.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Not done</title><h1>Not done</h1>{text}'.encode()
    )


def _cors(scope: Any) -> list[tuple[str, str]]:
    """What lets a page of an allowed origin read the refusal, as the application's answers have it."""
    if (origin := scope.headers.get("origin")) not in settings.CORS_ALLOWED_ORIGINS:
        return []
    return [
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", ", ".join(settings.CORS_EXPOSE_HEADERS)),
        ("vary", "origin"),
    ]
