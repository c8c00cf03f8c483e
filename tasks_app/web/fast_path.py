"""The fast path of `POST /queue`: stores an ordinary task without Django.

The event loop checks the request, and a thread stores the tasks of many requests by one commit. A stored task gets the
answer that the view would give. Anything unusual falls through to the DRF view, as does anything that the view refuses.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http.request import split_domain_port, validate_host
from rest_framework.exceptions import APIException

from tasks_app import conf
from tasks_app.api import admission, new_tasks
from tasks_app.api.admission import backlog, existing_of, queued_body, queued_headers
from tasks_app.api.errors import crash
from tasks_app.api.repeats import key_of
from tasks_app.keys.caller import Unauthorized, is_direct, keys
from tasks_app.keys.rate import KeyRate
from tasks_app.metrics.local_counters import process
from tasks_app.queue.current import store
from tasks_app.queue.strict_json import BadJSON, loads
from tasks_app.queue.submission import KeyReused, Submission, Submitted
from tasks_app.queue.submit import group_commit
from tasks_app.web.requests import Request, host_of

log = structlog.get_logger(__name__)

#: For a statement of `Readings`; and how long a request waits for one before it is left to the request queue.
TIMEOUT_SECONDS, WAIT_SECONDS = 5.0, 2.0
#: Limits of a request, in bytes: parsing it blocks the event loop, for less than a millisecond.
MAX_BODY_BYTES, MAX_HEADER_BYTES = 16 * 1024, 16 * 1024
#: A request with any other header goes to the view. The last row is checked here; the others have no effect.
ORDINARY_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-length", "content-type",
        "pragma", "traceparent", "tracestate", "transfer-encoding", "user-agent", "x-request-id",
        "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-real-ip",
        "authorization", "host", "idempotency-key", "x-forwarded-proto",
    }
)  # fmt: skip
#: The headers that middleware and DRF add to the view's answer.
ANSWER_HEADERS = [
    ("content-type", "application/json"),
    ("allow", "POST, OPTIONS"),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
]


class FastPath:
    """The fast path of one process. `finished` is called on another thread for each request that it answered."""

    def __init__(self, finished: Callable[[Request], None]) -> None:
        self._finished = finished
        self._env = conf.environment()
        self._headers = [*ANSWER_HEADERS, *([("vary", "origin")] if settings.CORS_ALLOWED_ORIGINS else [])]
        if self._env.tls:
            self._headers.append(("strict-transport-security", _transport_security()))

    def try_take(self, request: Request) -> bool:
        """Take the request if it is ordinary; it is answered later. False if the view has to answer. Does not block."""
        if request.scope.path != "/queue" or (admitted := self._admitted(request)) is None:
            return False
        submission, rate = admitted
        try:
            group_commit.submit_nowait(submission, partial(self._answer, request, rate))
        except RuntimeError:  # the thread that commits cannot be started: the view's threads exist already
            backlog.release()
            admission.give_tokens_back(self._env, rate=rate)  # the view takes them again
            return False
        return True

    def _admitted(self, request: Request) -> tuple[Submission, KeyRate | None] | None:
        """The task of a valid request, admitted, and the rate of its caller; None if the view has to handle it."""
        scope = request.scope
        if scope.method != "POST" or scope.query_string or scope.authority or len(request.body) > MAX_BODY_BYTES:
            return None
        headers, names = scope.headers, scope.headers.keys()
        if not self._is_ordinary(headers, names) or backlog.due:
            return None
        try:
            direct = is_direct(self._env, host_of(scope.client) if self._env.proxies else "", names)
            caller = keys.admit(self._env, headers.get("authorization"), direct=direct, may_query=False)
            body = loads(request.body)
            new = new_tasks.new_task(body, conf.handlers(), self._env.max_body, caller.signer)
            if not caller.may_post(new.task_type):
                return None
            if new.options is not None and admission.answers_by_query(new):
                return None
            if admission.has_quota(new.task_type):
                return None
            header = headers.get("idempotency-key")
            key = None
            if header is not None:
                key = key_of(header, caller.key, scope.path, lambda: new_tasks.meaning_of(body))
            admission.admit(self._env, may_query=False, rate=caller.rate)
        except (Unauthorized, BadJSON, APIException):
            return None
        return Submission([new], key), caller.rate

    def _is_ordinary(self, headers: Any, names: Sequence[str]) -> bool:
        pairs = headers.items()
        values = dict(pairs)
        # Twice, or there without a value: the server omits one that is not ASCII.
        if not len(pairs) == len(values) == len(names) or not ORDINARY_HEADERS.issuperset(names):
            return False
        if not is_allowed_host(headers.get("host", "")) or sum(map(len, values.values())) > MAX_HEADER_BYTES:
            return False
        if self._env.tls and values.get("x-forwarded-proto") != "https":
            return False  # Django redirects it
        # Nor may the second of two values stand for a first that is not ASCII.
        first = headers.get
        return not (
            ("authorization" in values and first("authorization") is None)
            or ("idempotency-key" in values and first("idempotency-key") is None)
        )

    def _answer(self, request: Request, rate: KeyRate | None, outcome: Submitted | Exception) -> None:
        """Answer a request whose task was stored or refused. On the thread that commits."""
        if isinstance(outcome, KeyReused) or (isinstance(outcome, Submitted) and not outcome.stored):
            backlog.release()
        else:
            backlog.stored()
        try:
            if isinstance(outcome, Submitted):
                task = str(outcome.ids[0])
                status, body = 200, queued_body(task, existing_of(outcome))
                added = queued_headers(task, outcome)
                headers = [*self._headers, *((name.lower(), value) for name, value in added.items())]
            else:
                failure = crash(outcome, "POST")
                status, body = failure.status_code, failure.content
                # DRF, which adds Allow, does not answer a bug.
                common = [pair for pair in self._headers if status != 500 or pair[0] != "allow"]
                headers = [*common, *((name, value) for name, value in failure.items() if name != "Content-Type")]
            if rate is not None and status != 500:
                headers += [(name.lower(), value) for name, value in rate.headers().items()]
            process.add(f"http|{status}|queue|POST")
            process.observe("http_seconds", f"{status}|queue|POST", time.monotonic() - request.arrived_at)
            request.proto.response_bytes(status, [*headers, ("content-length", str(len(body)))], body)
        finally:
            self._finished(request)


class Readings:
    """A thread that reads anew what the fast path relies on: the keys in force and the size of the queue.

    The request queue's threads read them too, but these may all be busy, and a POST would wait behind what they do.
    For the event loop; reads only when it is asked to.
    """

    def __init__(self) -> None:
        self._env = conf.environment()
        self._wanted: SimpleQueue[None] = SimpleQueue()
        #: Resolved by the reading that is awaited.
        self._next: asyncio.Future[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        threading.Thread(target=self._run, name="readings", daemon=True).start()

    @property
    def due(self) -> bool:
        """True if the fast path takes no request before something is read anew, and nobody is reading it."""
        return backlog.due or keys.due(self._env)

    async def renewed(self) -> None:
        """Wait until what is due has been read, or could not be. All that wait at once share a reading."""
        if self._next is None:
            self._next = self._loop.create_future()
            self._wanted.put(None)
        await asyncio.wait([self._next], timeout=WAIT_SECONDS)

    def _run(self) -> None:
        while True:
            self._wanted.get()
            try:
                connection.close_if_unusable_or_obsolete()  # as Django does at the beginning of a request
                with store().limited(TIMEOUT_SECONDS):
                    keys.renew(self._env)
                    backlog.renew()
            except (DatabaseError, InterfaceError) as error:
                # A view reads it again, and answers what follows from its failure.
                log.debug("what POSTs rely on could not be read", error=str(error))
                connection.close()
            except Exception as error:  # a bug: without this thread POSTs would wait for the threads of the views
                log.error("what POSTs rely on could not be read", exc_info=error)
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        resolved, self._next = self._next, None
        if resolved is not None:
            resolved.set_result(None)


def _transport_security() -> str:
    """The Strict-Transport-Security header, as Django's SecurityMiddleware writes it."""
    options = {"includeSubDomains": settings.SECURE_HSTS_INCLUDE_SUBDOMAINS, "preload": settings.SECURE_HSTS_PRELOAD}
    return "; ".join([f"max-age={settings.SECURE_HSTS_SECONDS}", *(name for name, on in options.items() if on)])


@lru_cache(maxsize=64)
def is_allowed_host(host: str) -> bool:
    """True if a Host header names a host that the deployment serves."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)
