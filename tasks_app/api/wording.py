"""What callers sent, in JSON's words and never in Python's: `true`, `null`, "a string", "an object"."""

from __future__ import annotations

import json
from typing import Any

#: Characters of a value that are shown.
MOST = 60


def kind(value: Any) -> str:
    """What a JSON value is: `a string`, `an array`, `null`."""
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
    """What a JSON value is, and which one: `a string ("5")`, `true`. Of arrays and objects only what they are."""
    if value is None or isinstance(value, bool):
        return literal(value)
    return kind(value) if isinstance(value, (dict, list)) else f"{kind(value)} ({literal(value)})"


def literal(value: Any) -> str:
    """A JSON value as JSON writes it, cut after 60 characters."""
    if isinstance(value, str):
        return json.dumps(value[:MOST] + ("..." if len(value) > MOST else ""), ensure_ascii=False)
    text = json.dumps(value)
    return text if len(text) <= MOST else f"{text[:MOST]}..."
