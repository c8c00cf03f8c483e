"""Describes JSON values for error sentences, in JSON's words, not Python's: `true`, `null`, "a string", "an object".

The sentences themselves are in `inputs`, and those about a body that is not JSON in `strict_json`.
"""

from __future__ import annotations

import json
from typing import Any

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
