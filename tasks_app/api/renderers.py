"""JSON answers: compact, UTF-8, whatever the caller's Accept header says."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.utils.encoders import JSONEncoder
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer


class CompactJSON(JSONRenderer):
    """JSON without spaces: scripts look for `"status":"healthy"` to the letter."""

    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """`data` as JSON; no body where there is none."""
        if data is None:
            return b""
        return json.dumps(data, cls=JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class AlwaysJSON(BaseContentNegotiation):
    """The first renderer, whatever is asked for: a browser on an API route gets JSON too."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        """Whatever the header says (curl's default says a form)."""
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        """Whatever the caller would like."""
        return renderers[0], renderers[0].media_type
