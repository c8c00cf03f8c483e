"""Refusals of requests that do not reach the WSGI application."""

from __future__ import annotations

from typing import Any

import structlog
from django.conf import settings

from tasks_app.api.errors import error_bytes
from tasks_app.metrics.local_counters import process

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A request that is refused without the WSGI application."""

    def __init__(self, status: int, sentence: str, *headers: tuple[str, str]) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers


def refuse(scope: Any, proto: Any, error: Refused) -> None:
    """Answer without the application and close the connection. Ignores a closed connection."""
    headers = [("content-type", "application/json"), ("connection", "close"), *error.headers, *_cors(scope)]
    process.add(f"http|{error.status}|refused|other")
    try:
        proto.response_bytes(error.status, headers, error_bytes(str(error)))
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
