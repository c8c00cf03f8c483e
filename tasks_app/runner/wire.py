"""The wire protocol between runner and handler: JSON objects, one a line, UTF-8.

In the order of a call: its request, the lines of stdout, the reply in one of them, what a reply may have in it, and the
lines that tell a handler's progress.
"""

from __future__ import annotations

import json
import json.encoder
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tasks_app.runner.endings import OutcomeKind

#: Largest reply line, and largest result once it is stored (see `stored_size`).
MAX_REPLY_BYTES = 10 * 1024 * 1024
#: How much longer than a reply a line may be while it has no end.
SLACK_BYTES = 64 * 1024
#: Largest error text; the rest is cut off.
MAX_ERROR_BYTES = 2048
#: The longest pause that a handler may ask for before a retry.
MAX_RETRY_IN_SECONDS = 86_400
#: Replaces an empty error text.
NO_REASON = "the handler reported an error and gave no reason"
#: Deepest nesting of a result, since the decoders that read it later (Python's json, PostgreSQL) recurse.
MAX_DEPTH = 500
#: A longer line is no progress.
MAX_PROGRESS_BYTES = 16 * 1024
#: A longer message is cut off.
MAX_MESSAGE_CHARS = 500
#: The largest `total`: the largest integer that every JSON decoder reads exactly.
MAX_TOTAL = 2**53


def _encoder() -> Callable[[Any], str]:
    """`JSONEncoder.encode` with one encoder in C for all values. It makes one for each, which takes several times as
    long as to encode a small value."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
    if (make := getattr(json.encoder, "c_make_encoder", None)) is None:
        return encoder.encode
    parts = make(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(parts(value, 0))


#: JSON text on one line, as it is stored and as the handler gets it. Raises ValueError for NaN and infinity.
encode = _encoder()
_decode = json.JSONDecoder().raw_decode

# Published SDKs write `status` first, so a line that begins like this and is not JSON is a broken reply, not log
# output.
_MEANT_AS_REPLY = re.compile(rb'\s*\{\s*"status"\s*:\s*"(?:success|error)"')
_DIGITS_OF_EXPONENTS = (
    ", because a number with an exponent is stored with all its digits (1e308 has 309); reply such numbers as strings"
)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')
#: Strings, which are passed over, and of each number with an exponent what follows its first digit.
_STRING_OR_EXPONENT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|((?:\.\d+)?)e([+-]\d+)')


class BadReply(Exception):
    """A reply breaks the protocol. The message is for the attempt's row."""


def request_line(task_id: str, task_type: str, task_data_json: str, attempt: int) -> bytes:
    """The line of one call: an object with exactly four keys, and an LF at its end.

    `task_id` is a UUID, `task_type` a handler's name; `task_data_json` is JSON text and is not decoded again.
    """
    if "\n" in task_data_json or "\r" in task_data_json:
        # Line breaks in JSON are white space: strings cannot contain raw ones.
        task_data_json = task_data_json.replace("\n", " ").replace("\r", " ")
    return (
        f'{{"task_id":"{task_id}","task_type":"{task_type}","task_data":{task_data_json},"attempt":{attempt}}}\n'
    ).encode()


class Lines:
    """Splits a byte stream into lines. Buffers one unfinished line, of at most MAX_REPLY_BYTES + SLACK_BYTES."""

    __slots__ = ("_splits", "rest")

    def __init__(self) -> None:
        #: What came after the last line end.
        self.rest = bytearray()
        self._splits = True

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Lines that cannot hold an object may come joined as one.

        Raises BadReply if an unfinished line is too long.
        """
        rest = self.rest
        if not self._splits:
            data = bytes(rest) + data
            rest.clear()
            return [data]
        # Searches only the new bytes for line ends: a reply of 10 MB comes in 160 pieces and more.
        end = data.rfind(b"\n") + 1
        if not rest:
            if end == len(data):
                return self._split(data)
            rest += data[end:]
            return self._split(data[:end]) if end else []
        if not end:
            rest += data
            if len(rest) > MAX_REPLY_BYTES + SLACK_BYTES:
                raise BadReply(f"{len(rest)} bytes of stdout without a line end; a reply has at most {MAX_REPLY_BYTES}")
            return []
        first = data.find(b"\n") + 1
        rest += data[:first]
        lines = [bytes(rest)]
        rest.clear()
        if first < end:
            lines += self._split(data[first:end])
        rest += data[end:]
        return lines

    def stop_splitting(self) -> None:
        """Have `feed` return what it gets, after an unfinished line, so that nothing more is buffered."""
        self._splits = False

    def unfinished(self) -> bytes:
        """The last 64 KiB of `rest`."""
        return bytes(self.rest[-SLACK_BYTES:])

    @staticmethod
    def _split(block: bytes) -> list[bytes]:
        # Joins lines without `{`, so that a flood of them does not cost a loop turn each.
        if block.find(b"\n") + 1 == len(block) or b"{" not in block:
            return [block]
        return block.splitlines(keepends=True)


@dataclass(slots=True)
class Success:
    """The handler succeeded. `json` is `result` as compact JSON text that PostgreSQL's jsonb accepts, `size` the bytes
    that it takes once it is stored.

    `task_id`: the task that the reply names; None without one.
    """

    kind: ClassVar[OutcomeKind] = OutcomeKind.SUCCESS

    result: Any
    json: str = field(compare=False, default="", repr=False)
    size: int = field(compare=False, default=0, repr=False)
    task_id: str | None = field(compare=False, default=None, repr=False)


@dataclass(frozen=True)
class Failure:
    """The handler reported an error. `error` has no NUL or surrogate and at most MAX_ERROR_BYTES bytes.

    `task_id`: as in Success. `retry_in`: the seconds until the retry, from 0 to MAX_RETRY_IN_SECONDS; None: the handler
    asks for no pause of its own. `ignored`: why the reply's `retry_in` does not count.
    """

    kind: ClassVar[OutcomeKind] = OutcomeKind.ERROR

    error: str
    retryable: bool = False
    task_id: str | None = field(compare=False, default=None, repr=False)
    retry_in: float | None = None
    ignored: str = ""


def parse_reply(line: bytes) -> Success | Failure | None:
    """The reply in a line of stdout; None if the line is not a reply. Raises BadReply.

    A reply is a JSON object whose `status` is `success` or `error`. BadReply: it has a fault, or the line begins like a
    reply and is not valid JSON.
    """
    stripped = line.strip()
    if not stripped.startswith(b"{"):
        return None
    if len(stripped) > MAX_REPLY_BYTES:
        raise BadReply(f"the reply has {len(stripped)} bytes; the limit is {MAX_REPLY_BYTES}")
    try:
        text = stripped.decode()
        reply, end = _decode(text)
        if end != len(text):
            raise ValueError("its line has more after it")
    except (ValueError, RecursionError) as error:
        if _MEANT_AS_REPLY.match(stripped):
            raise BadReply(f"the reply cannot be parsed: {_reason(error)}") from None
        return None
    status = reply.get("status")
    if status == "success":
        if "result" not in reply:
            raise BadReply("the reply has the status success and no `result`; write one, such as null")
        return _success(reply["result"], _task_id_of(reply), escaped=b"\\u" in stripped)
    if status == "error":
        return _failure(reply)
    return None


def _success(result: Any, task_id: str | None, escaped: bool) -> Success:
    try:
        text = encode(result)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"the result is not a JSON value: {_reason(error)}; write null, or a text") from None
    # Only escapes can yield these: UTF-8 has no surrogates, and JSON strings no raw control characters.
    if escaped:
        if "\\u0000" in text and _NUL.search(text):
            raise BadReply("the result has a NUL character in a string, which PostgreSQL cannot store")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadReply("the result has an unpaired surrogate in a string, which is not valid Unicode") from None
    if len(text) > 2 * MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise BadReply(f"the result is nested deeper than {MAX_DEPTH} levels")
    # A result can grow when it is encoded again: 1e15 becomes 1000000000000000.0.
    if (size := stored_size(text, MAX_REPLY_BYTES)) > MAX_REPLY_BYTES:
        raise BadReply(
            f"the result takes more than {MAX_REPLY_BYTES} bytes once it is stored"
            + ("" if len(text.encode()) > MAX_REPLY_BYTES else _DIGITS_OF_EXPONENTS)
        )
    return Success(result, text, size, task_id)


def _failure(reply: dict[str, Any]) -> Failure:
    error = reply.get("error")
    retryable = reply.get("retryable", False)
    if not isinstance(error, str):
        raise BadReply("the reply has the status error and no string in `error`; write a text")
    if not isinstance(retryable, bool):
        raise BadReply("the reply's `retryable` is neither true nor false")
    text = _storable(error) if error.strip() else NO_REASON
    return Failure(text, retryable, _task_id_of(reply), *_retry_in(reply.get("retry_in"), retryable))


def _retry_in(value: Any, retryable: bool) -> tuple[float | None, str]:
    """`retry_in` and `ignored` of a Failure."""
    if value is None:
        return None, ""
    if not _is_number(value, MAX_RETRY_IN_SECONDS):
        return None, f"it is no number of seconds from 0 to {MAX_RETRY_IN_SECONDS:,}"
    return (float(value), "") if retryable else (None, "the error is not retryable")


def _task_id_of(reply: dict[str, Any]) -> str | None:
    """The task that a reply names, in lower case as in requests."""
    task_id = reply.get("task_id")
    return None if task_id is None else str(task_id).lower()


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
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    # Python's own message tells how to configure Python.
    if "integer string conversion" in str(error):
        return f"a number in it has more than {sys.get_int_max_str_digits():,} digits"
    return str(error)[:300]


def stored_size(text: str, limit: float = float("inf")) -> int:
    """The bytes of a JSON text that Python has encoded, with each number written without an exponent.

    PostgreSQL stores numbers so: `1e+308` has 309 digits there. A size above `limit` may be less than the whole size.
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if "e+" not in text and "e-" not in text:  # as Python writes every exponent
        return size
    for match in _STRING_OR_EXPONENT.finditer(text):
        if match[2]:
            exponent, point = int(match[2]), 1 if match[1] else 0
            # After the first digit: as many as the exponent says, or "0." and zeros before the mantissa's own digits.
            digits = exponent if exponent > 0 else 1 - exponent + len(match[1]) - point
            size += digits - len(match[0])
            if size > limit:
                break
    return size


def progress_of(line: bytes) -> dict[str, Any] | None:
    """What a line of stdout says about the progress; None if it is no progress line.

    A progress line is a JSON object with `progress` and without `status`. `progress` is a number from 0 to 1, or an
    object with the numbers `done` and `total`, 0 <= done <= total; `message`, if there is one, is a string or null.
    Returns `progress` from 0 to 1, and `done`, `total` and `message` if the line has them.
    """
    if len(line) > MAX_PROGRESS_BYTES or b'"progress"' not in line or line.lstrip()[:1] != b"{":
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if "status" in value:
        return None
    progress, message = value.get("progress"), value.get("message")
    parsed: dict[str, Any] = {}
    if isinstance(progress, dict):
        done, total = progress.get("done"), progress.get("total")
        if not (_is_number(done, MAX_TOTAL) and _is_number(total, MAX_TOTAL) and total and done <= total):
            return None
        parsed = {"progress": done / total, "done": done, "total": total}
    elif _is_number(progress, 1):
        parsed = {"progress": abs(float(progress))}
    else:
        return None
    if isinstance(message, str):
        parsed["message"] = _storable(message[:MAX_MESSAGE_CHARS])
    elif message is not None:
        return None
    return parsed


def _is_number(value: Any, most: float) -> bool:
    """True for a number from 0 to `most`; NaN is none. A bool is an int in Python, but not in JSON."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _storable(text: str) -> str:
    """The text without characters that a database refuses, cut to MAX_ERROR_BYTES bytes."""
    raw = text[:MAX_ERROR_BYTES].replace("\0", "\ufffd").encode(errors="replace")
    return raw[:MAX_ERROR_BYTES].decode(errors="ignore")
