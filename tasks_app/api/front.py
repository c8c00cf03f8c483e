"""The web server's side of the application: a body is whole before a thread is spent on its request.

A WSGI thread that reads a body waits for as long as the client likes; eight slow clients would be the end of an API of
eight threads. So bodies are read by one event loop, each up to a limit and a deadline, and the threads get requests
that are complete. A POST that nothing is odd about needs none (`Express`). The loop also says that the process lives,
and sends away who has waited for a thread for too long: both hold while every thread waits for a database.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from urllib.parse import quote

import structlog
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from tasks_app.api.errors import RETRY_AFTER, error_bytes
from tasks_app.api.express import Express
from tasks_app.api.line import Line, Request
from tasks_app.api.renderers import dump
from tasks_app.metrics.tally import process

log = structlog.get_logger(__name__)

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_ASCII = "".join(map(chr, range(33, 127)))

#: Bytes of larger bodies that may be here at once, on their way or waiting for a thread, over all clients; and what is
#: no larger body: whoever announces much and sends nothing must not shut out everybody else.
AFLOAT, SMALL = 64 * 1024 * 1024, 64 * 1024
#: Seconds between two looks for answered requests. Their answers are out already: only the memory waits.
SWEEP = 0.02
#: Methods that write nothing.
READS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Headers by which something is refused: none of them is overlooked.
DECIDING = ("authorization", "content-encoding", "origin", "sec-fetch-site")
LIVE = frozenset({"/health/live", "/health/live/"})
LIVE_BODY = dump({"status": "live"})


class Refused(Exception):
    """A request that no thread has to see."""

    def __init__(self, status: int, sentence: str, *headers: tuple[str, str]) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers


class Front:
    """An RSGI application in front of a WSGI one. `limit` tells the bytes that a body to a path may have, `patience` is
    in seconds, for a whole body."""

    def __init__(self, application: WSGI, threads: int, limit: Callable[[str], int], patience: float) -> None:
        self._application = application
        self._threads, self._limit, self._patience = threads, limit, patience
        self._line = Line(threads)
        self._express = Express(self._over)
        self._answered: deque[asyncio.Future[None]] = deque()
        self._inside = 0
        self._afloat = 0
        self._sweeping = False

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called once by the server, in the process that serves."""
        self._loop = loop
        for number in range(self._threads):
            threading.Thread(target=self._serve, name=f"web-{number}", daemon=True).start()

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """One request."""
        if scope.path in LIVE and _may_be_told(scope):
            began = time.perf_counter()
            proto.response_bytes(200, [("content-type", "application/json")], LIVE_BODY)
            _count(scope.method, time.perf_counter() - began)
            return
        try:
            body = await self._body(scope, proto)
        except Refused as error:
            # The rest of the body is not read: what follows on this connection cannot be told from it.
            refuse(proto, error)
            return
        answered = self._loop.create_future()
        self._inside += 1
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)
        try:
            request = Request(scope, proto, body, answered, scope.method not in READS)
            if not self._express.takes(request):
                self._line.put(request)
            await answered
        finally:
            self._afloat -= len(body)

    async def _body(self, scope: Any, proto: Any) -> bytes:
        """The whole body, which counts as afloat until whoever called has answered it."""
        headers = scope.headers
        length, chunked = headers.get("content-length"), "transfer-encoding" in headers
        if not chunked and length in (None, "0"):
            return b""
        declared = None if chunked else int(length)  # the server has refused what is no number
        limit = self._limit(scope.path)
        if declared is not None and declared > limit:
            raise _too_large(limit)
        held = min(declared or limit, limit)
        if held > SMALL and self._afloat + held > AFLOAT:
            raise Refused(503, "too many large bodies at once; try again", ("Retry-After", RETRY_AFTER))
        self._afloat += held
        body = b""
        try:
            async with asyncio.timeout(self._patience):
                body = bytes(await (self._chunks(proto, limit) if declared is None else proto()))
            if declared is not None and len(body) != declared:
                size, body = len(body), b""
                raise Refused(400, f"the body ended after {size} of the {declared} bytes that Content-Length promised")
        except TimeoutError:
            raise Refused(408, f"the body did not come within {self._patience:g} seconds") from None
        except Refused:
            raise
        except Exception:  # whatever the server's reader raises: there is no whole body
            raise Refused(400, "the body could not be read") from None
        finally:
            self._afloat -= held - len(body)
        return body

    async def _chunks(self, proto: Any, limit: int) -> bytes:
        parts, size = [], 0
        async for part in proto:
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
        return b"".join(parts)

    def _sweep(self) -> None:
        for request in self._line.overdue():
            refuse(request.proto, Refused(503, "too busy; try again", ("Retry-After", RETRY_AFTER)))
            self._answered.append(request.answered)
        while self._answered:
            answered = self._answered.popleft()
            self._inside -= 1
            if not answered.done():
                answered.set_result(None)
        self._sweeping = self._inside > 0
        if self._sweeping:
            self._loop.call_later(SWEEP, self._sweep)

    def _serve(self) -> None:
        while True:
            request = self._line.get()
            try:
                self._answer(request)
            except Refused as error:
                refuse(request.proto, error)
            except Exception as error:
                log.error("the application failed, or its client is gone", exc_info=error)
                refuse(request.proto, Refused(500, "internal error"))
            finally:
                self._line.over(request)
                self._over(request)
                del request  # not kept while the thread waits

    def _over(self, request: Request) -> None:
        """It is answered. From any thread."""
        self._answered.append(request.answered)

    def _answer(self, request: Request) -> None:
        started: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            started[:] = [int(status[:3]), headers]
            return lambda _: None

        parts = self._application(environ(request.scope, request.body), start_response)
        try:
            body = b"".join(parts)
        finally:
            if (close := getattr(parts, "close", None)) is not None:
                close()
        request.proto.response_bytes(started[0], started[1], body)


def _may_be_told(scope: Any) -> bool:
    """Whether a question for our life is answered here. What is odd about others, the application answers."""
    headers = scope.headers
    if (
        scope.method not in ("GET", "HEAD")
        or headers.get("content-length", "0") != "0"
        or "transfer-encoding" in headers
    ):
        return False
    domain, _ = split_domain_port(headers.get("host", ""))
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _count(method: str, seconds: float) -> None:
    """As `Meter` counts what gets to the application."""
    process.add(f"http|200|live|{method}")
    process.observe("http_seconds", f"200|live|{method}", seconds)


def environ(scope: Any, body: bytes) -> dict[str, Any]:
    """The WSGI variables of a request. Raises Refused."""
    host, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    found: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),  # percent-decoded by the server
        "QUERY_STRING": _encoded(scope.query_string),
        "SERVER_NAME": host.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if "_" in name:  # would pass for the header that is written with a hyphen
            continue
        key = f"HTTP_{name.upper().replace('-', '_')}"
        if key in found:
            if key == "HTTP_HOST":
                raise Refused(400, "two Host headers")
            value = f"{found[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        found[key] = value
    if "HTTP_HOST" not in found and scope.http_version == "1.1":
        raise Refused(400, "no Host header, or one that is no text")
    for name in DECIDING:
        # The server names a header whose value is not ASCII, and leaves the value out: as if nobody had sent it.
        if name in scope.headers and f"HTTP_{name.upper().replace('-', '_')}" not in found:
            raise Refused(400, f"the {name} header has bytes that are not ASCII")
    found["CONTENT_TYPE"] = found.pop("HTTP_CONTENT_TYPE", "")
    found.pop("HTTP_TRANSFER_ENCODING", None)
    found["HTTP_CONTENT_LENGTH"] = found["CONTENT_LENGTH"] = str(len(body))
    return found


def _encoded(query: str) -> str:
    """A query string in ASCII: Django cannot read a raw character beyond Latin-1."""
    return query if query.isascii() else quote(query, safe=_ASCII)


def refuse(proto: Any, error: Refused) -> None:
    """Answer without the application. A client that is gone does not matter."""
    headers = [("content-type", "application/json"), ("connection", "close"), *error.headers]
    process.add(f"http|{error.status}|refused|other")
    try:
        proto.response_bytes(error.status, headers, error_bytes(str(error)))
    except Exception as failure:
        log.debug("nobody there to be refused", error=str(failure))


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the body is larger than {limit:,} bytes; put large data elsewhere and send its address")
