"""The raw-socket fuzzer's attacks: requests one behind the other, in pieces, or spoilt by chance."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.web.answers import length, post

TASK = b'{"type": "echo", "data": {"n": 1}}'
HEAD = b"%b %b HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
#: Complete requests, which leave their connection open.
REQUESTS = (
    post(b"/queue", length(len(TASK)), TASK, close=False),
    post(b"/queue/batch", length(len(TASK) + 13), b'{"tasks": [' + TASK + b"]}", close=False),
    post(b"/queue", b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(TASK), TASK), close=False),
    post(b"/admin/login/", length(18), b"username=a&next=%2", close=False),
    *(
        HEAD % (method, path) + b"\r\n"
        for method, path in (
            (b"GET", b"/api/tasks?limit=2&status=failed"), (b"GET", b"/api/tasks/x"), (b"DELETE", b"/api/tasks/x"),
            (b"OPTIONS", b"/queue"), (b"GET", b"/metrics"), (b"GET", b"/admin/"), (b"FROB", b"//queue"),
        )
    ),
)  # fmt: skip
LAST = HEAD % (b"GET", b"/health/live") + CLOSE
#: Lines of a head that are read with care, or by nobody.
LINES = (
    b"Host: evil", b"Origin: null", b"Sec-Fetch-Site: cross-site", b"Expect: 100-continue", b"Content-Encoding: gzip",
    b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: " + b"9" * 400, b"Content_Length: 5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings",
    b"Cookie: a=\xff; b=%00", b"X-Forwarded-Host: evil", b"X-HTTP-Method-Override: DELETE", b"TE: trailers",
    b"no colon",
)  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """`parts` are sent with pauses between them. `answers`: the number of answers; None: any number.

    `complete`: the server must answer, or close the connection, soon. Otherwise the client disconnects.
    """

    name: str
    parts: list[bytes]
    answers: int | None = None
    complete: bool = True


def by_chance(r: random.Random) -> Attack:
    """One of them, by chance."""
    requests = r.choices(REQUESTS, k=r.choice((0, 1, 1, 2, 20)))
    raw = b"".join(requests) + LAST
    name = r.choice(("whole", "in pieces", *SPOILT))
    if name == "in pieces":
        cuts = sorted(r.sample(range(1, len(raw)), 6))
        return Attack(name, [raw[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)], len(requests) + 1)
    if name == "whole":
        return Attack(name, [raw], len(requests) + 1)
    return Attack(name, [SPOILT[name](r, raw)], complete=False)


def _flipped(r: random.Random, raw: bytes) -> bytes:
    found = bytearray(raw)
    for _ in range(r.randrange(1, 5)):
        found[r.randrange(len(found))] = r.randrange(256)
    return bytes(found)


def _inserted(r: random.Random, raw: bytes, what: bytes) -> bytes:
    at = r.randrange(len(raw))
    return raw[:at] + what + raw[at:]


def _repeated(r: random.Random, raw: bytes) -> bytes:
    begin = r.randrange(len(raw))
    return _inserted(r, raw, raw[begin : begin + r.choice((1, 10, 200))] * r.choice((2, 700, 9000)))


def _with_a_line(r: random.Random, raw: bytes) -> bytes:
    first, end, rest = raw.partition(b"\r\n")
    return first + end + r.choice(LINES) + end + rest


SPOILT = {
    "cut off": lambda r, raw: raw[: r.randrange(1, len(raw))],
    "flipped": _flipped,
    "noise": lambda r, raw: _inserted(r, raw, r.randbytes(r.choice((1, 20, 300, 70_000)))),
    "repeated": _repeated,
    "a line more": _with_a_line,
}
