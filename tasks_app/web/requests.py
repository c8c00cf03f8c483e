"""A request before Django has it: its body is read, it waits for a thread, and becomes the variables of WSGI."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from queue import SimpleQueue
from typing import Any
from urllib.parse import quote

from tasks_app.api.errors import RETRY_AFTER
from tasks_app.keys.caller import FORWARDING_HEADERS
from tasks_app.web.request_guard import RequestRefused

#: Bytes of bodies that may be in memory at once, over all clients, from their announcement to their answer. Bodies of
#: at most SMALL_BODY_BYTES are never refused, so that clients that announce much cannot lock others out.
BODY_BUDGET_BYTES, SMALL_BODY_BYTES = 64 * 1024 * 1024, 64 * 1024
#: Of a refused body the rest is read and dropped, since a client that still sends could lose the answer: so many
#: bytes in so many seconds, until none comes for `QUIET_SECONDS`, of so many bodies at once.
MAX_DROPPED_BYTES, MAX_DROP_SECONDS, QUIET_SECONDS, MAX_DROPPING = 64 * 1024 * 1024, 5.0, 1.0, 64
#: A request that has waited for so long is refused with 503.
MAX_WAIT_SECONDS = 10.0
#: Logins that run at once. To check a password takes a thread some tenths of a second of processor time.
MAX_LOGINS = 2
#: Logins that wait for one of these. Further ones are refused: they would wait for longer than `MAX_WAIT_SECONDS`.
MAX_WAITING_LOGINS = 32
#: Headers that can cause a refusal: a value that cannot be read must not be ignored.
DECISIVE_HEADERS = (
    "authorization", "content-encoding", "host", "idempotency-key", "last-event-id", "origin", "sec-fetch-site",
    *FORWARDING_HEADERS,
)  # fmt: skip
#: Headers that cannot be joined, by their variables.
SINGLE_HEADERS = {"HTTP_HOST": "Host", "HTTP_IDEMPOTENCY_KEY": "Idempotency-Key"}
#: The largest size of path, query and headers. The server itself refuses much larger ones.
MAX_HEAD_BYTES = 64 * 1024

_ASCII = "".join(map(chr, range(33, 127)))


class BodyReader:
    """For one event loop."""

    def __init__(self, limit: Callable[[str], int], timeout: float) -> None:
        """`limit` returns the bytes that a body to a path may have. `timeout`: seconds for a complete body."""
        self._limit, self._timeout = lru_cache(maxsize=64)(limit), timeout
        self._bytes = self._dropping = 0

    async def read(self, scope: Any, proto: Any) -> bytes:
        """The complete body, which counts until it is given to `release`. Raises RequestRefused."""
        headers = scope.headers
        length, chunked = headers.get("content-length"), "transfer-encoding" in headers
        if not chunked and length in (None, "0"):
            return b""
        if chunked and [word.strip().lower() for word in headers.get_all("transfer-encoding")] != ["chunked"]:
            raise RequestRefused(400, "this Transfer-Encoding is not supported; only chunked is")
        declared = None if chunked else int(length)  # the server accepts only numbers
        limit = self._limit(scope.path)
        if declared is not None and declared > limit:
            raise _too_large(limit)
        reserved = min(declared or limit, limit)
        if reserved > SMALL_BODY_BYTES and self._bytes + reserved > BODY_BUDGET_BYTES:
            raise RequestRefused(503, "too many large bodies at once; try again", ("Retry-After", RETRY_AFTER))
        self._bytes += reserved
        body = b""
        try:
            body = await self._complete(proto, declared, limit)
        finally:
            self._bytes -= reserved - len(body)
        return body

    async def discard(self, scope: Any, proto: Any) -> None:
        """Read the rest of the body of a request that is answered, and drop it, within bounds."""
        if "expect" in scope.headers or self._dropping >= MAX_DROPPING:
            return
        self._dropping += 1
        part, size = b" ", 0
        try:
            with suppress(Exception):
                aiter(proto)  # fails if the body is being read already
            with suppress(Exception):  # its end, a pause, or whatever the server's reader raises
                async with asyncio.timeout(MAX_DROP_SECONDS):
                    while part and size < MAX_DROPPED_BYTES:
                        async with asyncio.timeout(QUIET_SECONDS):
                            part = await anext(proto)
                        size += len(part)
        finally:  # also if the server cancels it: a client has gone
            self._dropping -= 1

    def release(self, body: bytes) -> None:
        """The body is no longer in memory."""
        self._bytes -= len(body)

    async def _complete(self, proto: Any, declared: int | None, limit: int) -> bytes:
        """The body. `declared`: its Content-Length; None if it comes in chunks."""
        try:
            async with asyncio.timeout(self._timeout):
                body = await _chunks(proto, limit) if declared is None else bytes(await proto())
        except TimeoutError:
            raise RequestRefused(408, f"the body did not arrive within {self._timeout:g} seconds") from None
        except RequestRefused:
            raise
        except Exception:  # the server's reader raises various types
            raise RequestRefused(400, "the body could not be read") from None
        if declared is not None and len(body) != declared:
            raise RequestRefused(400, f"the body ended after {len(body)} of the {declared} bytes of its Content-Length")
        return body


async def _chunks(proto: Any, limit: int) -> bytes:
    """A complete body in chunks. Raises RequestRefused if it is truncated or broken."""
    parts, size, empty = [], 0, 0
    async for part in proto:
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        if part:
            parts.append(part)
        else:
            empty += 1
    # The server raises no error for a lost connection or a malformed chunk. It yields an empty part for it, as for
    # trailers, and another one at the end. So exactly one empty part means a complete body.
    if empty != 1:
        raise RequestRefused(
            400, "the body ended before its last chunk, or has a bad chunk or trailers; nothing was stored"
        )
    return b"".join(parts)


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(
        413, f"the body is larger than {limit:,} bytes; store large data elsewhere and send its address"
    )


@dataclass(slots=True, eq=False)
class Request:
    """A complete request. `answered` is resolved in the event loop. `may_write`: its method is not a read.

    `login`: it has a password to check. `left`: called in the loop if the request is over and still waits for a task.
    """

    scope: Any
    proto: Any
    body: bytes
    answered: asyncio.Future[None]
    may_write: bool
    login: bool = False
    left: Callable[[Request], None] | None = None
    arrived_at: float = field(default_factory=time.monotonic)
    _taken: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """True for the first caller, which then has to answer the request."""
        return self._taken.acquire(blocking=False)

    @property
    def taken(self) -> bool:
        return self._taken.locked()


class TooManyLogins(Exception):
    """So many logins wait already that another one would wait for too long."""


class Limit:
    """Admits at most `most` requests at once; the others wait in the order of their arrival. Not thread-safe."""

    def __init__(self, most: int) -> None:
        self.waiting: deque[Request] = deque()
        self._most, self._admitted = most, 0

    def admit(self, request: Request) -> bool:
        """True if it is admitted; False if it waits until `finished` returns it."""
        if self._admitted >= self._most:
            self.waiting.append(request)
            return False
        self._admitted += 1
        return True

    def finished(self) -> Request | None:
        """One that was admitted is finished. Returns the one that is admitted in its place."""
        if self.waiting:
            return self.waiting.popleft()
        self._admitted -= 1
        return None


class RequestQueue:
    """The complete requests that wait for a thread. The event loop calls `put` and `overdue`, the threads `get` and
    `finish`.

    Requests that may write get at most three quarters of the threads, so that reads go on while nothing can be written
    (each waits up to 20 s for SQLite's write lock). Logins get `MAX_LOGINS` threads, and leave one to others.
    """

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._next: SimpleQueue[Request | Callable[[], None]] = SimpleQueue()
        # Used under the lock. A login needs the first one before the second.
        self._logins = Limit(max(min(MAX_LOGINS, threads - 1), 1))
        self._writes = Limit(max(threads - threads // 4, 1))
        self._by_age: deque[Request] = deque()

    def put(self, request: Request) -> None:
        """Append a request. Raises TooManyLogins."""
        with self._lock:
            if request.login and len(self._logins.waiting) >= MAX_WAITING_LOGINS:
                raise TooManyLogins
            admitted = (not request.login or self._logins.admit(request)) and self._may_run(request)
        self._by_age.append(request)
        if admitted:
            self._next.put(request)

    def _may_run(self, request: Request) -> bool:
        """False if it waits for others that may write. Under the lock."""
        return not request.may_write or self._writes.admit(request)

    def put_work(self, run: Callable[[], None]) -> None:
        """Append something else for a thread to do. It is never overdue."""
        self._next.put(run)

    def get(self) -> Request | Callable[[], None]:
        """Take the next request, or work; blocks until there is one. Call `finish` after a request."""
        while isinstance(request := self._next.get(), Request) and not request.take():
            self.finish(request)
        return request

    def finish(self, request: Request) -> None:
        """The request is answered."""
        if not request.may_write:
            return
        with self._lock:
            following = [self._writes.finished()]
            if request.login and (login := self._logins.finished()) is not None and self._may_run(login):
                following.append(login)
        for admitted in following:
            if admitted is not None:
                self._next.put(admitted)

    def overdue(self) -> Iterator[Request]:
        """Take the requests that have waited for too long. The caller refuses them."""
        while self._by_age:
            first = self._by_age[0]
            if not first.taken and time.monotonic() - first.arrived_at < MAX_WAIT_SECONDS:
                return
            self._by_age.popleft()
            if first.take():
                yield first


def wsgi_environ(scope: Any, body: bytes) -> dict[str, Any]:
    """The variables of a request with this body. Raises RequestRefused."""
    headers = _headers(scope)
    _check(scope, headers.get("HTTP_HOST"))
    environ = _request_line(scope) | headers
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["HTTP_CONTENT_LENGTH"] = environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = BytesIO(body)
    return environ


def _request_line(scope: Any) -> dict[str, Any]:
    port, client_port = (address.rpartition(":")[2] for address in (scope.server, scope.client))
    method = scope.method
    return {
        # Methods are case-sensitive, but Django would treat `delete` as DELETE.
        "REQUEST_METHOD": method if method == method.upper() else f"({method})",
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),  # percent-decoded by the server
        "QUERY_STRING": _encoded(scope.query_string),
        "SERVER_NAME": host_of(scope.server),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": host_of(scope.client),
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def host_of(address: str) -> str:
    """The host of `host:port`, as the server writes it."""
    return address.rpartition(":")[0].strip("[]")


def _encoded(query: str) -> str:
    """A query string in ASCII. Django cannot decode raw characters beyond Latin-1."""
    return query if query.isascii() else quote(query, safe=_ASCII)


def _headers(scope: Any) -> dict[str, str]:
    """The headers as HTTP_ variables. Raises RequestRefused if they are too large, or a single one is there twice."""
    variables: dict[str, str] = {}
    size = len(scope.path) + len(scope.query_string)
    for name, value in scope.headers.items():
        size += len(name) + len(value) + 4
        if "_" in name:  # WSGI cannot tell it from the header with a hyphen
            continue
        key = f"HTTP_{name.upper().replace('-', '_')}"
        if key in variables:
            if key in SINGLE_HEADERS:
                raise RequestRefused(400, f"two {SINGLE_HEADERS[key]} headers")
            value = f"{variables[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        variables[key] = value
    if size > MAX_HEAD_BYTES:
        raise RequestRefused(431, f"the address and the headers are larger than {MAX_HEAD_BYTES:,} bytes")
    return variables


def _check(scope: Any, host: str | None) -> None:
    """Raises RequestRefused for a header that cannot be read, and without one and the same host."""
    headers, authority = scope.headers, scope.authority
    for name in DECISIVE_HEADERS:
        # The server omits a value that is not ASCII, but has the header's name.
        if name in headers and headers.get(name) is None:
            raise RequestRefused(400, f"the {name} header has bytes that are not ASCII")
    if host is None and scope.http_version == "1.1":
        raise RequestRefused(400, "no Host header")
    if authority is not None and authority.lower() != (host or "").lower():
        raise RequestRefused(400, "the address names another host than the Host header")
