"""The raw-socket fuzzer's attacks: the bytes to send, and the expected number of answers."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

PATHS = (
    "/queue",
    "/queue/",
    "/api/tasks",
    "/api/tasks/x",
    "/api/metrics",
    "/metrics",
    "/health/live",
    "/nowhere",
    "//queue",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FROB", "get", "G\u00cbT")


@dataclass(frozen=True)
class Attack:
    """`parts` are sent with pauses between them. `answers`: the number of answers; None: any number.

    `complete`: the server must answer, or close the connection, soon. Otherwise the client disconnects.
    """

    name: str
    parts: list[bytes]
    answers: int | None = None
    complete: bool = True


def head(r: random.Random, method: str, path: str, *more: str, version: str = "1.1", close: bool = True) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *more]
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def task(r: random.Random) -> bytes:
    value = {"type": r.choice(["echo", "prime", "nope"]), "data": {"n": r.random()}, "priority": r.randint(-5, 105)}
    return json.dumps(value).encode()


def post(r: random.Random, body: bytes, *more: str, close: bool = True) -> bytes:
    return head(r, "POST", "/queue", f"Content-Length: {len(body)}", *more, close=close) + body


def noise(r: random.Random, size: int) -> bytes:
    return r.randbytes(size)


def good(r: random.Random) -> Attack:
    return Attack("good", [post(r, task(r))], 1)


def half_head(r: random.Random) -> Attack:
    request = post(r, task(r))
    return Attack("half head", [request[: r.randrange(1, request.index(b"\r\n\r\n") + 3)]], 0, complete=False)


def half_body(r: random.Random) -> Attack:
    request = post(r, task(r))
    return Attack(
        "half body", [request[: r.randrange(request.index(b"\r\n\r\n") + 4, len(request))]], 0, complete=False
    )


def trickle(r: random.Random) -> Attack:
    request = post(r, task(r))
    cuts = sorted(r.sample(range(1, len(request)), 6))
    return Attack("trickle", [request[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)], 1)


def huge_headers(r: random.Random) -> Attack:
    kind = r.randrange(4)
    if kind == 0:
        more = ["X-Long: " + "a" * r.choice([9_000, 70_000, 500_000, 2_000_000])]
    elif kind == 1:
        more = [f"X-{n}: {n}" for n in range(r.choice([50, 99, 101, 5_000]))]
    elif kind == 2:
        return Attack("long uri", [head(r, "GET", "/" + "a" * r.choice([8_000, 65_000, 70_000, 600_000]))])
    else:
        more = ["X" * r.choice([10_000, 70_000, 600_000]) + ": 1"]
    return Attack("huge headers", [head(r, "GET", "/health/live", *more)])


def wrong_length(r: random.Random) -> Attack:
    body = task(r)
    kind = r.randrange(6)
    length = [
        str(len(body) - r.randrange(1, 9)),
        f"+{len(body)}",
        "-1",
        "abc",
        "9" * r.choice([9, 19, 400]),
        f"{len(body)}, {len(body)}",
    ][kind]
    more = [f"Content-Length: {length}"] + (["Content-Length: 7"] if r.random() < 0.2 else [])
    return Attack("wrong length", [head(r, "POST", "/queue", *more) + body])


def too_long(r: random.Random) -> Attack:
    body = task(r)
    return Attack(
        "length over body", [head(r, "POST", "/queue", f"Content-Length: {len(body) + 9}") + body], complete=False
    )


def chunked(r: random.Random) -> Attack:
    body = task(r)
    cut = r.randrange(len(body))
    pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
    text = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    start = head(r, "POST", "/queue", "Transfer-Encoding: chunked")
    kind = r.randrange(5)
    if kind == 0:
        return Attack("chunked", [start + text], 1)
    if kind == 1:
        return Attack("chunked, broken size", [start + noise(r, 4) + text])
    if kind == 2:
        return Attack("chunked, no end", [start + text[: r.randrange(len(text) - 2)]], complete=False)
    if kind == 3:
        return Attack("chunked, size of 2^64", [start + b"f" * 17 + b"\r\n" + text])
    return Attack(
        "chunked and length", [head(r, "POST", "/queue", "Transfer-Encoding: chunked", "Content-Length: 3") + text]
    )


def huge_body(r: random.Random) -> Attack:
    if r.random() < 0.5:
        size = r.choice([1024 * 1024 + 1, 50_000_000, 2**40])
        return Attack("huge body", [head(r, "POST", "/queue", f"Content-Length: {size}"), b"a" * 300_000])
    part = b"%x\r\n%b\r\n" % (200_000, b"a" * 200_000)
    return Attack("huge chunks", [head(r, "POST", "/queue", "Transfer-Encoding: chunked"), part * 7])


def pipelined(r: random.Random) -> Attack:
    count = r.randrange(2, 30)
    parts = [
        post(r, task(r), close=False) if r.random() < 0.5 else head(r, "GET", "/health/live", close=False)
        for _ in range(count)
    ]
    return Attack("pipelined", [b"".join(parts) + head(r, "GET", "/health/live")], count + 1)


def random_bytes(r: random.Random) -> Attack:
    return Attack(
        "random bytes", [noise(r, r.choice([1, 20, 300, 70_000])) + r.choice([b"", b"\r\n\r\n"])], complete=False
    )


def flipped(r: random.Random) -> Attack:
    request = bytearray(post(r, task(r)))
    for _ in range(r.randrange(1, 5)):
        request[r.randrange(len(request))] = r.randrange(256)
    return Attack("flipped bytes", [bytes(request)], complete=False)


def unusual_path(r: random.Random) -> Attack:
    alphabet = string.ascii_letters + "/.?=&#;:@+-_~!$'()*,[]|^{}\\\""
    junk = [
        "%00",
        "%2f",
        "%5c",
        "%ff",
        "%ed%a0%80",
        "%",
        "%zz",
        "..",
        "//",
        "%0a",
        "%25",
        "limit=-1",
        "cursor=%00",
        "\u00e9",
        "\u0663",
    ]
    text = "".join(r.choice(junk) if r.random() < 0.4 else r.choice(alphabet) for _ in range(r.randrange(1, 40)))
    start = r.choice(["/", "/api/tasks/", "/api/tasks?", "/admin/", "/static/", "/health/", "http://evil/", "*", ""])
    return Attack("unusual path", [head(r, r.choice(METHODS), start + text)])


def unusual_method(r: random.Random) -> Attack:
    return Attack("unusual method", [head(r, r.choice(METHODS), r.choice(PATHS))])


def unusual_headers(r: random.Random) -> Attack:
    more = r.sample(
        [
            "Host: evil",
            "Origin: null",
            "Origin: http://evil",
            "Sec-Fetch-Site: cross-site",
            "Expect: 100-continue",
            "Expect: x",
            "Content-Encoding: gzip",
            "Content-Type: \x7f",
            "Accept: text/html",
            "Cookie: a=\u00ff; b=%00",
            "Upgrade: h2c",
            "Connection: Upgrade, HTTP2-Settings",
            "Content_Length: 5",
            "Range: bytes=0-1",
            "If-None-Match: *",
            "TE: trailers",
            "X-Forwarded-Host: evil",
            "X-HTTP-Method-Override: DELETE",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: identity",
        ],
        r.randrange(1, 5),
    )
    return Attack("unusual headers", [head(r, r.choice(METHODS), r.choice(PATHS), *more)])


def unusual_version(r: random.Random) -> Attack:
    return Attack(
        "unusual version", [head(r, "GET", r.choice(PATHS), version=r.choice(["1.0", "0.9", "2.0", "3", "1.1 x", ""]))]
    )


def unusual_json(r: random.Random) -> Attack:
    bodies = [
        b"",
        b"null",
        b"[]",
        b"0",
        b'"x"',
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 5_000,
        b"9" * 5_000,
        b'{"type":"echo","data":{"n":1e400}}',
        b'{"type":"echo","data":{"n":NaN}}',
        b'{"type":"echo","data":{"s":"\\u0000"}}',
        b'{"type":"echo","data":{"s":"\\ud800"}}',
        b'{"type":"echo","type":"echo"}',
        b"[" + b"1," * 200_000 + b"1]",
        b'"' + b'\\"' * 400_000,
        b'{"' + b'":1,"'.join(str(n).encode() for n in range(60_000)) + b'":1}',
        noise(r, 50),
    ]
    return Attack("unusual json", [post(r, r.choice(bodies))], 1)


ATTACKS: tuple[Callable[[random.Random], Attack], ...] = (
    good,
    half_head,
    half_body,
    trickle,
    huge_headers,
    wrong_length,
    too_long,
    chunked,
    huge_body,
    pipelined,
    random_bytes,
    flipped,
    unusual_path,
    unusual_method,
    unusual_headers,
    unusual_version,
    unusual_json,
)
