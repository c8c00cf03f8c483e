"""Requests in the bytes that a web server gets, and the answers in those that it sent."""

from __future__ import annotations

import json
import re

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def post(path: bytes, headers: bytes, body: bytes, *, close: bool = True) -> bytes:
    """A POST with these headers, which say how long its body is."""
    ends = b"Connection: close\r\n" if close else b""
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\n%b%b\r\n%b" % (path, ends, headers, body)


def length(size: int) -> bytes:
    """The header that says so."""
    return b"Content-Length: %d\r\n" % size


def answers_of(raw: bytes) -> list[tuple[int, bytes]]:
    """All of them, as (status, body). What is no answer has the status 0."""
    found = []
    while match := _STATUS.match(raw):
        status = int(match[1])
        headers, _, rest = raw.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", headers, re.IGNORECASE)
        size = int(length[1]) if length and rest[: len(rest)] and not rest.startswith(b"HTTP/1.") else 0
        if status >= 200:
            found.append((status, rest[:size]))
        raw = rest[size:]
    if raw:
        found.append((0, raw))
    return found


def only(raw: bytes) -> tuple[int, bytes]:
    """The status and body of the only one."""
    (answer,) = answers_of(raw)
    return answer


def error(raw: bytes, status: int) -> str:
    """The sentence in the only one, which has this status."""
    got, body = only(raw)
    assert got == status, raw
    return str(json.loads(body)["error"])
