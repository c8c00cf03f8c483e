"""The lines that go to a handler and come back: JSON objects, one a line, UTF-8."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tasks_app.runner.errors import BadReply

MAX_REPLY = 10 * 1024 * 1024
"""Largest reply line in bytes, and largest result as JSON text in bytes."""

MAX_ERROR = 2048
"""Largest error text in bytes; the rest is cut off."""

MAX_DEPTH = 500
"""Deepest nesting of a result: everybody after us (Python's json, PostgreSQL) recurses."""

_decode = json.JSONDecoder().raw_decode
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_make = getattr(json.encoder, "c_make_encoder", None)
# What `encode` makes anew at every call, which is what costs it most of its time.
_chunks = _make and _make(None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)


def _encode(value: Any) -> str:
    return _encoder.encode(value) if _chunks is None else "".join(_chunks(value, 0))


# Published SDKs write `status` first. Such a line was meant as a reply, even if it cannot be read.
_MEANT_AS_REPLY = re.compile(rb'\s*\{\s*"status"\s*:\s*"(?:success|error)"')
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


@dataclass(slots=True)
class Success:
    """The handler did it. `json` is `result` as compact JSON text that PostgreSQL's jsonb takes too."""

    result: Any
    json: str = field(compare=False, default="", repr=False)


@dataclass(frozen=True)
class Failure:
    """The handler says that it could not. `error` has no NUL or surrogate and at most MAX_ERROR bytes."""

    error: str
    retryable: bool = False


def request_line(task_id: str, task_type: str, task_data_json: str, attempt: int) -> bytes:
    """The line that carries one call: exactly four keys, LF at its end.

    `task_id` is a UUID; `task_data_json` is JSON text already and is not decoded again.
    """
    if "\n" in task_data_json or "\r" in task_data_json:
        # Outside of strings they are white space, and inside JSON has no raw ones.
        task_data_json = task_data_json.replace("\n", " ").replace("\r", " ")
    return (
        f'{{"task_id":"{task_id}","task_type":{_quoted(task_type)},"task_data":{task_data_json},"attempt":{attempt}}}\n'
    ).encode()


_quoted = lru_cache(maxsize=1000)(json.dumps)


def parse_reply(line: bytes) -> Success | Failure | None:
    """What a line of stdout says; None for a handler's chatter. Raises BadReply.

    A reply is a JSON object whose `status` is `success` or `error`. Bad is one with a fault in it, and
    a line that begins as a reply does and cannot be read.
    """
    stripped = line.strip()
    if not stripped.startswith(b"{"):
        return None
    if len(stripped) > MAX_REPLY:
        raise BadReply(f"the reply has {len(stripped)} bytes; the limit is {MAX_REPLY}")
    try:
        text = stripped.decode()
        reply, end = _decode(text)
        if end != len(text):
            raise ValueError("there is more on its line")
    except (ValueError, RecursionError) as error:
        if _MEANT_AS_REPLY.match(stripped):
            raise BadReply(f"the reply cannot be read: {_reason(error)}") from None
        return None
    status = reply.get("status")
    if status == "success":
        if "result" not in reply:
            raise BadReply("the reply says success and has no `result`")
        return _success(reply["result"], escaped=b"\\u" in stripped)
    if status == "error":
        return _failure(reply)
    return None


def _success(result: Any, escaped: bool) -> Success:
    try:
        text = _encode(result)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"the result is no JSON value: {_reason(error)}") from None
    # Raw ones cannot come this far: UTF-8 has no surrogates, and JSON no control characters in strings.
    if escaped:
        if "\\u0000" in text and _NUL.search(text):
            raise BadReply("the result has a NUL character in a string, which PostgreSQL cannot store")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadReply("the result has half a surrogate pair in a string, which is no text") from None
    if len(text) > 2 * MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise BadReply(f"the result is nested deeper than {MAX_DEPTH} levels")
    # Numbers can grow on the way through Python: 1e300 stays, but 0.1e1 is written anew.
    if len(text) > MAX_REPLY // 2 and len(text.encode()) > MAX_REPLY:
        raise BadReply(f"the result has over {MAX_REPLY} bytes")
    return Success(result, text)


def _failure(reply: dict[str, Any]) -> Failure:
    error = reply.get("error")
    retryable = reply.get("retryable", False)
    if not isinstance(error, str):
        raise BadReply("the reply says error and has no text in `error`")
    if not isinstance(retryable, bool):
        raise BadReply("`retryable` in the reply is neither true nor false")
    return Failure(_storable(error), retryable)


def _storable(text: str) -> str:
    """The text without what a database refuses, cut to MAX_ERROR bytes."""
    raw = text[:MAX_ERROR].replace("\0", "\ufffd").encode(errors="replace")
    return raw[:MAX_ERROR].decode(errors="ignore")


def _depth(text: str) -> int:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for token in _BRACKETS.finditer(text):
        first = token.group()[0]
        if first in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in "]}":
            depth -= 1
    return deepest


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:300]
