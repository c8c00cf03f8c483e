"""JSON as a caller meant it: what another reader might understand differently, or the database refuses, is an error.

The C decoder does the work; what it lets through is found around it by whole-text operations, so that the rules cost
about as much as the decoding. Where a fault is, is looked for only once there is one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

#: Deepest nesting, and most values, that a body may have.
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_DIGITS = 4300

#: Only such an escape can make a NUL or half a surrogate pair.
_DOUBTFUL = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_LONG_INTEGER = re.compile(rf"\d{{{MAX_DIGITS + 1},}}+")
# Of a text: what makes its structure, brackets all of one kind.
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_CONTENT = bytes(set(range(256)) - set(b'{}[],"'))


class BadJSON(ValueError):
    """The text is not JSON that we take; the message says what is wrong and where.

    `place` is the value that is wrong, as in `tasks[731].data.name`; "" where it is the whole text.
    """

    def __init__(self, sentence: str, place: str = "") -> None:
        super().__init__(f"{place}: {sentence}" if place else sentence)
        self.place = place


def loads(body: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The value of a JSON text. Raises BadJSON."""
    if not body or body.isspace():
        raise BadJSON('the body is empty; send a JSON object such as {"type": "echo", "data": {}}')
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJSON(f"the body is not UTF-8: byte {error.start + 1} cannot be read") from None
    if text.startswith("\ufeff"):
        raise BadJSON("the body begins with a byte order mark; send plain UTF-8 without one")
    _check_size(body, max_depth)
    try:
        value = _decode(text)
    except _Twice:
        raise _doubled(text) from None
    except json.JSONDecodeError as error:
        raise BadJSON(f"malformed JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadJSON(f"the JSON is nested deeper than {max_depth} levels") from None
    except BadJSON:
        raise
    except ValueError:  # Python's own limit for integers
        digits = max(map(len, _LONG_INTEGER.findall(text)), default=MAX_DIGITS + 1)
        raise BadJSON(f"an integer of {digits:,} digits; at most {MAX_DIGITS:,} are taken") from None
    if _DOUBTFUL.search(text):
        _check_strings(value)
    return value


def _check_size(body: bytes, max_depth: int) -> None:
    """Depth and number of values, before anything is built."""
    if body.count(b"{") + body.count(b"[") <= max_depth and len(body) <= MAX_NODES:
        return
    if b"\\" in body:
        # Pair by pair from the left, so that each quote that is left begins or ends a string.
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    bare = b"".join(body.translate(_ONE_KIND, _CONTENT).split(b'"')[::2])
    values = 1 + bare.count(b",") + bare.count(b"[")
    if values > MAX_NODES:
        raise BadJSON(f"the JSON has over {MAX_NODES:,} values; at most that many are taken")
    brackets = left = bare.translate(None, b",")
    for _ in range(max_depth):
        left = left.replace(b"[]", b"")  # the innermost, everywhere at once
    if left and (deepest := _deepest(brackets)) > max_depth:
        raise BadJSON(f"the JSON is nested {deepest} levels deep; at most {max_depth} are taken")


def _deepest(brackets: bytes) -> int:
    depth = deepest = 0
    for bracket in brackets:
        depth += 1 if bracket == b"["[0] else -1
        deepest = max(deepest, depth)
    return deepest


class _Twice(Exception):
    """A key stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def _refuse_constant(name: str) -> Any:
    raise BadJSON(f"{name} is not JSON; send null, or a string")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadJSON(f"the number {digits[:40]} is too large; send it as a string")
    return value


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_float).decode


class _Pairs(list[tuple[str, Any]]):
    """An object, with all its keys."""


def _doubled(text: str) -> BadJSON:
    """What to say of a text in which a key stands twice."""
    try:
        value = json.loads(text, object_pairs_hook=_Pairs)
    except ValueError:  # what comes after it is no JSON at all
        value = None
    for place, one in _walk(value):
        if isinstance(one, _Pairs):
            seen: set[str] = set()
            for key, _ in one:
                if key in seen:
                    return BadJSON(f"the key {_shown(key)} stands twice in one object", place())
                seen.add(key)
    return BadJSON("a key stands twice in one object")


def _walk(value: Any) -> Iterator[tuple[Callable[[], str], Any]]:
    """Every value and what tells its place; keys too, at the place of their object. From the back."""
    left: list[tuple[Callable[[], str], Any]] = [(lambda: "", value)]
    while left:
        place, one = left.pop()
        yield place, one
        if isinstance(one, (dict, _Pairs)):
            for key, inner in one.items() if isinstance(one, dict) else one:
                left.append((_inside(place, f".{key[:60]}"), inner))
                left.append((place, key))
        elif isinstance(one, list):
            left += [(_inside(place, f"[{index}]"), inner) for index, inner in enumerate(one)]


def _inside(outer: Callable[[], str], step: str) -> Callable[[], str]:
    return lambda: (outer() + step).removeprefix(".")


def _check_strings(value: Any) -> None:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            if _fault(one):
                raise _placed(value)
        elif isinstance(one, dict):
            left.extend(one)
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _placed(value: Any) -> BadJSON:
    """What to say of a value that has a bad string."""
    for place, text in _walk(value):
        if isinstance(text, str) and (fault := _fault(text)):
            return BadJSON(f"the string {_shown(text)} has {fault}", place())
    raise AssertionError("every string is good")


def _fault(text: str) -> str:
    if "\0" in text:
        return "a NUL character (\\u0000), which cannot be stored"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is no character"
    return ""


def _shown(text: str) -> str:
    return json.dumps(text[:60])
