"""JSON as a caller meant it: what another reader might understand differently, or the database refuses, is an error."""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: Deepest nesting, and most values, that a body may have.
MAX_DEPTH = 64
MAX_NODES = 100_000

# One that does not end is taken to the end of the text: were it no match, every quote in it would be tried anew.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


class BadJSON(ValueError):
    """The text is not JSON that we take; the message says what is wrong and where."""


def loads(body: bytes) -> Any:
    """The value of a JSON text. Raises BadJSON."""
    if not body.strip():
        raise BadJSON('the body is empty; send a JSON object such as {"type": "echo", "data": {}}')
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJSON(f"the body is not UTF-8: byte {error.start + 1} cannot be read") from None
    if text.startswith("\ufeff"):
        raise BadJSON("the body begins with a byte order mark; send plain UTF-8 without one")
    _check_depth(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_float
        )
    except json.JSONDecodeError as error:
        raise BadJSON(f"malformed JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadJSON(f"the JSON is nested deeper than {MAX_DEPTH} levels") from None
    if "\\u" in text:  # only an escape can make a NUL or half a surrogate pair
        _check_strings(value)
    return value


def _check_depth(text: str) -> None:
    """Depth and number of values, without recursion and before anything is built."""
    if text.count("{") + text.count("[") <= MAX_DEPTH and len(text) <= MAX_NODES:
        return
    bare = _STRING.sub("", text)
    values = 1 + bare.count(",") + bare.count("{") + bare.count("[")
    if values > MAX_NODES:
        raise BadJSON(f"the JSON has over {MAX_NODES:,} values; at most that many are taken")
    depth = deepest = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in "{[" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise BadJSON(f"the JSON is nested {deepest} levels deep; at most {MAX_DEPTH} are taken")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJSON(f"the key {_shown(key)} stands twice in one object")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> Any:
    raise BadJSON(f"{name} is not JSON; send null, or a string")


def _integer(digits: str) -> int:
    if len(digits) > 4300:
        raise BadJSON(f"an integer of {len(digits):,} digits; at most 4,300 are taken")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadJSON(f"the number {digits[:40]} is too large; send it as a string")
    return value


def _check_strings(value: Any) -> None:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            _check_string(one)
        elif isinstance(one, dict):
            for key in one:
                _check_string(key)
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _check_string(text: str) -> None:
    if "\0" in text:
        raise BadJSON(f"the string {_shown(text)} has a NUL character (\\u0000), which cannot be stored")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadJSON(f"the string {_shown(text)} has half of a surrogate pair, which is no character") from None


def _shown(text: str) -> str:
    return json.dumps(text[:60])
