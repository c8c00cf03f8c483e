"""Mistakes in handlers.toml that TOML alone does not tell: quotes of a text processor, a name with dots."""

from __future__ import annotations

import re
from typing import Any

#: Quotes that text processors and chats put in the place of straight ones.
_TYPOGRAPHIC = re.compile("[\u2018-\u201f\u00ab\u00bb\u2032\u2033]")


def of_quotes(text: str, line: int) -> str:
    """The remedy for a line that is not TOML because a text processor has set its quotes, for the end of the
    sentence."""
    found = _TYPOGRAPHIC.search(text.split("\n")[line - 1])
    if found is None:
        return ""
    return f"; the line has typographic quotes ({found[0]}): write straight ones, \" or '"


def handler_inside(key: str, value: Any) -> tuple[str, ...]:
    """The path to a table that looks like a handler; empty if there is none: the key of a table, or further ones."""
    path = [key]
    while isinstance(value, dict):
        if not value.keys().isdisjoint(("image", "command")):
            return tuple(path)
        if len(value) != 1:
            break
        key, value = next(iter(value.items()))
        path.append(key)
    return ()
