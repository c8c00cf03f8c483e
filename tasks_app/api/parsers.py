"""Parses a body as JSON, whatever its Content-Type: `curl -d` says that it is a form."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from tasks_app.api.errors import Invalid
from tasks_app.api.json_values import literal
from tasks_app.store.strict_json import MAX_DEPTH, BadJSON, loads


def body_of(request: Request, max_depth: int = MAX_DEPTH) -> Any:
    """The body's JSON value. Raises ParseError or Invalid (400).

    Unlike DRF's `data`, which is `{}` without a body.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ParseError(f"the Content-Encoding {literal(encoding)} is not supported; send the body without one")
    return _parse(request._request.body, max_depth)


def _parse(body: bytes, max_depth: int = MAX_DEPTH) -> Any:
    try:
        return loads(body, max_depth)
    except BadJSON as error:
        raise Invalid([(error.path, str(error))]) from None


class StrictJSON(BaseParser):
    """DRF's parser for strict JSON."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The body's JSON value. Raises Invalid (400)."""
        return _parse(stream.read())
