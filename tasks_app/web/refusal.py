"""Refusals of requests that do not reach the WSGI application."""

from __future__ import annotations

from typing import Any

import structlog

from tasks_app.api.errors import error_bytes
from tasks_app.metrics.local_counters import process

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A request that is refused without the WSGI application."""

    def __init__(self, status: int, sentence: str, *headers: tuple[str, str]) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers


def refuse(proto: Any, error: Refused) -> None:
    """Answer without the application and close the connection. Ignores a closed connection."""
    headers = [("content-type", "application/json"), ("connection", "close"), *error.headers]
    process.add(f"http|{error.status}|refused|other")
    try:
        proto.response_bytes(error.status, headers, error_bytes(str(error)))
    except Exception as failure:
        log.debug("the refusal could not be sent", error=str(failure))
