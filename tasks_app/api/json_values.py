"""Describes JSON values for error sentences, in JSON's words, not Python's: `true`, `null`, "a string", "an object".

The sentences themselves are in `inputs`, and those about a body that is not JSON in `strict_json`.
"""

from __future__ import annotations

import json
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from tasks_app.api.errors import Invalid
from tasks_app.queue.strict_json import MAX_DEPTH, BadJSON, loads

#: Characters of a value that error sentences show.
MAX_SHOWN = 60


def kind(value: Any) -> str:
    """The kind of a JSON value: `a string`, `an array`, `null`."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "an array"
    return "an object"


def shown(value: Any) -> str:
    """The kind of a JSON value and the value: `a string ("5")`, `true`. For arrays and objects only the kind."""
    if value is None or isinstance(value, bool):
        return literal(value)
    return kind(value) if isinstance(value, (dict, list)) else f"{kind(value)} ({literal(value)})"


def literal(value: Any) -> str:
    """A JSON value as JSON, cut after MAX_SHOWN characters."""
    if isinstance(value, str):
        return json.dumps(value[:MAX_SHOWN] + ("..." if len(value) > MAX_SHOWN else ""), ensure_ascii=False)
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


# Parses a body as JSON, whatever its Content-Type: `curl -d` says that it is a form.


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
