"""Renders answers as compact JSON in UTF-8, whatever the Accept header says."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder


def dump(data: Any) -> bytes:
    """Compact JSON: scripts search for `"status":"healthy"`. Never fails on strings."""
    text = json.dumps(data, cls=JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
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
        """The JSON parser."""
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        """The JSON renderer."""
        return renderers[0], renderers[0].media_type
