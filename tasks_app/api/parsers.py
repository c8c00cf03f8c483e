"""The body as JSON, whatever the Content-Type says: what `curl -d` sends without a header, too."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from tasks_app.api.errors import Invalid
from tasks_app.api.strict_json import MAX_DEPTH, BadJSON, loads
from tasks_app.api.wording import literal


def body_of(request: Request, max_depth: int = MAX_DEPTH) -> Any:
    """The body's value. Not DRF's `data`, which is `{}` where there is no body. Raises ParseError, Invalid (400)."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ParseError(f"the Content-Encoding {literal(encoding)} is not understood; send the body as it is")
    return _parse(request._request.body, max_depth)


def _parse(body: bytes, max_depth: int = MAX_DEPTH) -> Any:
    try:
        return loads(body, max_depth)
    except BadJSON as error:
        raise Invalid([(error.place, str(error))]) from None


class StrictJSON(BaseParser):
    """The same for DRF."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The value; raises Invalid (400)."""
        return _parse(stream.read())
