"""A strict JSON decoder: what other parsers may read differently, or the database refuses, is an error.

The C decoder does the work. Operations on the whole text find what it lets through, so that the extra rules cost about
as much as the decoding. Only after a fault was found, a slow search locates it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

#: Limits of a body: levels of nesting, values, digits of an integer.
MAX_DEPTH = 64
MAX_VALUES = 100_000
MAX_DIGITS = 4300

#: Only such an escape can stand for a NUL or half a surrogate pair.
_SUSPICIOUS_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_LONG_INTEGER = re.compile(rf"\d{{{MAX_DIGITS + 1},}}+")
# These reduce a text to its structure, with brackets of one kind.
_BRACES_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
_CONTENT = bytes(set(range(256)) - set(b'{}[],"'))


class BadJSON(ValueError):
    """The text is not valid strict JSON. The message says what is wrong and where.

    `path` is the path of the wrong value, as in `tasks[731].data.name`; "" for the whole text.
    """

    def __init__(self, sentence: str, path: str = "") -> None:
        super().__init__(f"{path}: {sentence}" if path else sentence)
        self.path = path


def loads_data(text: str) -> Any:
    """The data of a task as a form's field has it, with the limits that it has inside of a body. Raises BadJSON."""
    return loads(text.encode("utf-8", "replace"), MAX_DEPTH - 1)


def loads(body: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The value of a JSON text. Raises BadJSON."""
    if not body or body.isspace():
        raise BadJSON("the body is empty; send a JSON object (/docs has examples)")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJSON(f"the body is not UTF-8: byte {error.start + 1} is invalid") from None
    if text.startswith("\ufeff"):
        raise BadJSON("the body begins with a byte order mark; send plain UTF-8 without one")
    _check_size(body, max_depth)
    try:
        value = _decode(text)
    except _DuplicateKey:
        raise _duplicate_key_fault(text) from None
    except json.JSONDecodeError as error:
        raise BadJSON(f"malformed JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadJSON(f"the JSON is nested deeper than {max_depth} levels") from None
    except BadJSON:
        raise
    except ValueError:  # Python's own limit for integers
        digits = max(map(len, _LONG_INTEGER.findall(text)), default=MAX_DIGITS + 1)
        raise BadJSON(f"an integer has {digits:,} digits; at most {MAX_DIGITS:,} are allowed") from None
    if _SUSPICIOUS_ESCAPE.search(text):
        _check_strings(value)
    return value


def _check_size(body: bytes, max_depth: int) -> None:
    """Check the depth and the number of values before any object is built."""
    if body.count(b"{") + body.count(b"[") <= max_depth and len(body) <= MAX_VALUES:
        return
    if b"\\" in body:
        # Remove escaped backslashes first, then escaped quotes: each remaining quote begins or ends a string.
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = b"".join(body.translate(_BRACES_TO_BRACKETS, _CONTENT).split(b'"')[::2])
    values = 1 + structure.count(b",") + structure.count(b"[")
    if values > MAX_VALUES:
        raise BadJSON(f"the JSON has over {MAX_VALUES:,} values; at most that many are allowed")
    brackets = remaining = structure.translate(None, b",")
    for _ in range(max_depth):
        remaining = remaining.replace(b"[]", b"")  # removes the innermost level
    if remaining and (depth := _depth(brackets)) > max_depth:
        raise BadJSON(f"the JSON is nested {depth} levels deep; at most {max_depth} are allowed")


def _depth(brackets: bytes) -> int:
    depth = deepest = 0
    for bracket in brackets:
        depth += 1 if bracket == b"["[0] else -1
        deepest = max(deepest, depth)
    return deepest


class _DuplicateKey(Exception):
    """A key occurs twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DuplicateKey
    return value


def _refuse_constant(name: str) -> Any:
    raise BadJSON(f"{name} is not JSON; send null, or a string")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadJSON(f"the number {digits[:40]} is too large; send it as a string")
    return value


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_float).decode


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys, duplicates included."""


def _duplicate_key_fault(text: str) -> BadJSON:
    try:
        value = json.loads(text, object_pairs_hook=_Pairs)
    except ValueError:  # malformed after the duplicate key
        value = None
    for path, inner in _walk(value):
        if isinstance(inner, _Pairs):
            seen: set[str] = set()
            for key, _ in inner:
                if key in seen:
                    return BadJSON(f"the key {_shown(key)} occurs twice in one object", path())
                seen.add(key)
    return BadJSON("a key occurs twice in one object")


def _walk(value: Any) -> Iterator[tuple[Callable[[], str], Any]]:
    """Every value with a function for its path, and every key with the path of its object. From the end."""
    pending: list[tuple[Callable[[], str], Any]] = [(lambda: "", value)]
    while pending:
        path, outer = pending.pop()
        yield path, outer
        if isinstance(outer, (dict, _Pairs)):
            for key, inner in outer.items() if isinstance(outer, dict) else outer:
                pending.append((_inside(path, f".{key[:60]}"), inner))
                pending.append((path, key))
        elif isinstance(outer, list):
            pending += [(_inside(path, f"[{index}]"), inner) for index, inner in enumerate(outer)]


def _inside(outer: Callable[[], str], step: str) -> Callable[[], str]:
    return lambda: (outer() + step).removeprefix(".")


def _check_strings(value: Any) -> None:
    pending = [value]
    while pending:
        inner = pending.pop()
        if isinstance(inner, str):
            if _fault(inner):
                raise _bad_string_fault(value)
        elif isinstance(inner, dict):
            pending.extend(inner)
            pending.extend(inner.values())
        elif isinstance(inner, list):
            pending.extend(inner)


def _bad_string_fault(value: Any) -> BadJSON:
    for path, text in _walk(value):
        if isinstance(text, str) and (fault := _fault(text)):
            return BadJSON(f"the string {_shown(text)} has {fault}", path())
    raise AssertionError("no string has a fault")


def _fault(text: str) -> str:
    if "\0" in text:
        return "a NUL character (\\u0000), which cannot be stored"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is not a character"
    return ""


def _shown(text: str) -> str:
    return json.dumps(text[:60])
