"""The RSGI application in front of Django's WSGI application.

A WSGI thread that reads a body waits for its client, so eight slow clients would block eight threads. Here an event
loop reads the bodies, each up to a limit and a deadline, and threads get complete requests only. An ordinary
`POST /queue` needs no thread (`fast_path`), and what it relies on is read by one of its own. The loop also
answers /health/live and refuses requests that have waited for a thread for too long, even while every thread waits for
the database.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import structlog
from django.urls import reverse
from rest_framework.permissions import SAFE_METHODS

from tasks_app import conf
from tasks_app.admin.table_files import Download
from tasks_app.api.errors import RETRY_AFTER, dump
from tasks_app.api.waiting import VARIABLE, Deferred
from tasks_app.feature import registered
from tasks_app.metrics.local_counters import process
from tasks_app.web.connections import ConnectionLimit
from tasks_app.web.downloads import Downloads
from tasks_app.web.fast_path import FastPath, Readings, is_allowed_host
from tasks_app.web.request_guard import RequestRefused, refuse
from tasks_app.web.requests import MAX_WAIT_SECONDS, BodyReader, Request, RequestQueue, TooManyLogins, wsgi_environ
from tasks_app.web.waiters import Waiters

log = structlog.get_logger(__name__)

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: How often the loop collects answered requests, whose answers are sent already, and refuses overdue ones. To wake it
#: for each answered request would take 17 us.
SWEEP_INTERVAL_SECONDS = 0.02
LIVE_PATHS = frozenset({"/health/live", "/health/live/"})
LIVE_BODY = dump({"status": "live"})


class Sender(Protocol):
    """Answers some requests after their views, without a thread for each. See `Feature.streams`."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this loop. Called once, in the main thread."""

    def add(self, request: Request, status: int, headers: list[tuple[str, str]], body: Any) -> None:
        """Answer the request, which is not answered yet, and say once it is. Called on the view's thread."""


class Application:
    """An RSGI application in front of a WSGI one.

    `body_limit` returns the bytes that a body to a path may have. `body_timeout`: seconds for a complete body.
    """

    def __init__(self, application: WSGI, threads: int, body_limit: Callable[[str], int], body_timeout: float) -> None:
        self._application = application
        self._threads, self._bodies = threads, BodyReader(body_limit, body_timeout)
        self._queue = RequestQueue(threads)
        self._fast_path = FastPath(self._finished)
        self._readings = Readings()
        self._password_paths = {reverse("admin:login"), reverse("admin:password_change")}
        self._waiters = Waiters(self._queue, self._finished, self._release_body)
        #: By the type of the view's response.
        self._senders: dict[type, Sender] = {Download: Downloads(self._queue, self._finished)}
        self._senders |= {make.response: make(self._finished) for make in registered("streams")}
        self._active: set[Any] = set()  # scopes of requests that are not answered
        #: Threads append; the loop takes.
        self._answered: deque[asyncio.Future[None]] = deque()
        self._unswept = 0
        self._sweeping = False

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start. The server calls this once, in the process that serves."""
        self._loop = loop
        self._readings.start(loop)
        self._waiters.start(loop)
        for sender in self._senders.values():
            sender.start(loop)
        ConnectionLimit(conf.environment().port, self._clients).start()
        for number in range(self._threads):
            threading.Thread(target=self._serve, name=f"web-{number}", daemon=True).start()

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """One request."""
        if scope.path in LIVE_PATHS and _is_ordinary(scope):
            started_at = time.perf_counter()
            proto.response_bytes(200, [("content-type", "application/json")], LIVE_BODY)
            _count(scope.method, time.perf_counter() - started_at)
            return
        self._active.add(scope)
        request = None
        try:
            body = await self._bodies.read(scope, proto)
            request = Request(scope, proto, body, self._loop.create_future(), scope.method not in SAFE_METHODS)
            if not self._fast_path.try_take(request):
                await self._put(request)
            # Nothing that is awaited may come before: a request that is cancelled there is never swept.
            self._unswept += 1
            if not self._sweeping:
                self._sweeping = True
                self._loop.call_later(SWEEP_INTERVAL_SECONDS, self._sweep)
            await request.answered
        except RequestRefused as error:
            # The connection cannot be used again: `refuse` closes it.
            refuse(scope, proto, error)
            if request is None:
                self._active.discard(scope)
                await self._bodies.discard(scope, proto)
        finally:
            self._active.discard(scope)
            if request is not None:
                if request.left is not None:
                    request.left(request)
                self._release_body(request)

    async def _put(self, request: Request) -> None:
        """Leave a request to the threads, unless the fast path takes it once what it relies on has been read anew.

        Raises RequestRefused.
        """
        path = request.scope.path
        if path == "/queue" and self._readings.due:
            await self._readings.renewed()
            if self._fast_path.try_take(request):
                return
        request.login = request.may_write and path in self._password_paths
        try:
            self._queue.put(request)
        except TooManyLogins:
            wait = ("Retry-After", f"{MAX_WAIT_SECONDS:.0f}")
            raise RequestRefused(503, "too many logins wait; try again", wait) from None

    def _release_body(self, request: Request) -> None:
        """Its body is not needed any more."""
        self._bodies.release(request.body)
        request.body = b""

    def _clients(self) -> set[str]:
        """The clients (`address:port`) with a request that is not answered. Thread-safe."""
        return {scope.client for scope in list(self._active)}

    def _sweep(self) -> None:
        for request in self._queue.overdue():
            busy = RequestRefused(503, "the server is too busy; try again", ("Retry-After", RETRY_AFTER))
            refuse(request.scope, request.proto, busy)
            self._answered.append(request.answered)
        while self._answered:
            answered = self._answered.popleft()
            self._unswept -= 1
            if not answered.done():  # the server cancels it if the client closes the connection
                answered.set_result(None)
        self._sweeping = self._unswept > 0
        if self._sweeping:
            self._loop.call_later(SWEEP_INTERVAL_SECONDS, self._sweep)

    def _serve(self) -> None:
        while True:
            request = self._queue.get()
            if not isinstance(request, Request):
                request()
                continue
            waits = False
            try:
                waits = self._answer(request)
            except RequestRefused as error:
                refuse(request.scope, request.proto, error)
            except Exception as error:
                log.error("the application failed, or the client closed the connection", exc_info=error)
                refuse(request.scope, request.proto, RequestRefused(500, "internal error"))
            finally:
                self._queue.finish(request)
                if not waits:
                    self._finished(request)
                del request  # frees its memory while the thread waits for the next one

    def _finished(self, request: Request) -> None:
        """The request is answered. Thread-safe."""
        self._answered.append(request.answered)

    def _answer(self, request: Request) -> bool:
        """Answer it, let it wait, or leave it to a sender. True if it is not answered yet."""
        deferred = self._waiters.deferred()
        try:
            status, headers, body = self._response(request, deferred)
            if (sender := self._senders.get(type(body))) is not None:
                sender.add(request, status, headers, body)
                return True
            if deferred.wait is not None and status == 200:
                self._waiters.add(request, deferred, headers)
                return True
        except BaseException:
            deferred.release()
            raise
        deferred.release()
        request.proto.response_bytes(status, headers, body)
        return False

    def _response(self, request: Request, deferred: Deferred) -> tuple[int, list[tuple[str, str]], Any]:
        """The application's response; its body is bytes, or the view's response if a sender takes it."""
        started: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            started[:] = [int(status[:3]), headers]
            return lambda _: None

        environ = wsgi_environ(request.scope, request.body) | {VARIABLE: deferred}
        parts = self._application(environ, start_response)
        if type(parts) in self._senders:
            return started[0], started[1], parts
        try:
            body = b"".join(parts)
        finally:
            if (close := getattr(parts, "close", None)) is not None:
                close()
        return started[0], started[1], body


def _is_ordinary(scope: Any) -> bool:
    """True if the loop may answer this liveness probe. The application answers unusual ones."""
    headers = scope.headers
    if (
        scope.method not in ("GET", "HEAD")
        or scope.authority is not None
        or headers.get("content-length", "0") != "0"
        or "transfer-encoding" in headers
        or len(headers.get_all("host")) != 1  # the application refuses two
    ):
        return False
    return is_allowed_host(headers.get("host", ""))


def _count(method: str, seconds: float) -> None:
    """Count a liveness probe, as `HttpMetrics` counts the application's requests."""
    process.add(f"http|200|live|{method}")
    process.observe("http_seconds", f"200|live|{method}", seconds)
