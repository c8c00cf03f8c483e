"""JSON answers: compact, UTF-8, whatever the caller's Accept header says."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder


def dump(data: Any) -> bytes:
    """Compact JSON: scripts look for `"status":"healthy"` to the letter. Never fails on text."""
    text = json.dumps(data, cls=JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half a surrogate pair cannot be written as UTF-8; JSON's own escape for it has the same form as Python's.
    return text.encode("utf-8", "backslashreplace")


class CompactJSON(JSONRenderer):
    """JSON without spaces."""

    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """`data` as JSON; no body where there is none."""
        return b"" if data is None else dump(data)


class AlwaysJSON(BaseContentNegotiation):
    """The first renderer, whatever is asked for: a browser on an API route gets JSON too."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        """Whatever the header says (curl's default says a form)."""
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        """Whatever the caller would like."""
        return renderers[0], renderers[0].media_type
