"""The body as JSON, whatever the Content-Type says."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from tasks_app.api.strict_json import BadJSON, loads


class StrictJSON(BaseParser):
    """Reads what `curl -d` sends without a header, too."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The value; raises ParseError (400)."""
        try:
            return loads(stream.read())
        except BadJSON as error:
            raise ParseError(str(error)) from None
