"""The short way of `POST /queue`: what nothing is odd about is stored without Django.

Django's middleware and DRF's view let such a request through after 200 us of processor time, and as much again for the
threads that take turns. Here the loop looks at it, for 20 us, and a thread stores what many have handed in by one
commit. Only a good request is answered here, with what the view would answer; the view gets whatever it would refuse,
and whatever it would look at twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from rest_framework.exceptions import APIException

from tasks_app import conf
from tasks_app.api import admission, inputs
from tasks_app.api.backlog import backlog
from tasks_app.api.bearer import opens
from tasks_app.api.errors import crash
from tasks_app.api.line import Request
from tasks_app.api.strict_json import BadJSON, loads
from tasks_app.api_keys import keys
from tasks_app.lifecycle import NewTask, intake
from tasks_app.metrics.tally import process

#: Bytes of the largest body that is read on the loop, which has nothing else to do meanwhile: less than a millisecond.
LARGEST = 16 * 1024
#: Headers by which nothing is decided here, and those of which each is looked at.
PLAIN = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-length", "content-type",
        "pragma", "traceparent", "tracestate", "transfer-encoding", "user-agent", "x-request-id",
        "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-real-ip",
        "authorization", "host", "x-forwarded-proto",
    }
)  # fmt: skip
#: What Django's middleware and DRF add to the view's answer.
HEADERS = [
    ("content-type", "application/json"),
    ("allow", "POST, OPTIONS"),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
]


class Express:
    """Of one process. `over` is told of each request that was answered here, on another thread."""

    def __init__(self, over: Callable[[Request], None]) -> None:
        self._over = over
        self._env = conf.environment()
        self._headers = [*HEADERS, *([("vary", "Origin")] if settings.CSRF_TRUSTED_ORIGINS else [])]
        if self._env.tls:
            self._headers.append(("strict-transport-security", _transport_security()))

    def takes(self, request: Request) -> bool:
        """Whether it will be answered here. Does not wait, for a database neither."""
        if request.scope.path != "/queue" or (new := self._task(request)) is None:
            return False
        # Nobody waits here, so as many as there are clients may be let in while one commit is under way.
        backlog.coming(1)
        try:
            intake.hand_in([new], _Post(request, self._headers, self._over))
        except RuntimeError:  # no more threads; one of those that there are may do it
            backlog.coming(-1)
            return False
        return True

    def _task(self, request: Request) -> NewTask | None:
        """The task that a good request asks for, let in; None for whatever Django has to look at."""
        scope = request.scope
        if scope.method != "POST" or scope.query_string or len(request.body) > LARGEST:
            return None
        if not self._plain(scope.headers) or backlog.due:
            return None
        try:
            new = inputs.new_task(loads(request.body), conf.handlers())
            admission.admit(self._env, look=False)
        except (BadJSON, APIException):
            return None
        return new

    def _plain(self, headers: Any) -> bool:
        pairs = headers.items()
        given = dict(pairs)
        if len(given) != len(pairs) or not PLAIN.issuperset(headers.keys()) or not _ours(given.get("host", "")):
            return False
        if self._env.tls and given.get("x-forwarded-proto") != "https":
            return False  # it did not come by TLS, and is redirected
        if self._env.auth == "off":
            return True
        authorization = given.get("authorization")
        if authorization is None and "authorization" in headers:
            return False  # the server's pairs are without a value that is not ASCII
        known = keys.lately()
        return known is not None and opens(authorization, known, self._env.exposed)


def _transport_security() -> str:
    """For how long the name is to be spoken to by TLS alone, as Django's SecurityMiddleware says it."""
    also = {"includeSubDomains": settings.SECURE_HSTS_INCLUDE_SUBDOMAINS, "preload": settings.SECURE_HSTS_PRELOAD}
    return "; ".join([f"max-age={settings.SECURE_HSTS_SECONDS}", *(word for word, said in also.items() if said)])


@lru_cache(maxsize=64)
def _ours(host: str) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


class _Post:
    """One request, until its task is stored."""

    __slots__ = ("_headers", "_over", "_request")

    def __init__(self, request: Request, headers: list[tuple[str, str]], over: Callable[[Request], None]) -> None:
        self._request, self._headers, self._over = request, headers, over

    def told(self, ids: Sequence[UUID], error: BaseException | None) -> None:
        """Answer."""
        if error is None:
            backlog.accepted()
        backlog.coming(-1)
        try:
            self._answer(ids, error)
        finally:
            self._over(self._request)

    def _answer(self, ids: Sequence[UUID], error: BaseException | None) -> None:
        if error is None:
            status, identity = 200, str(ids[0])
            body = b'{"task_id":"%b"}' % identity.encode()
            headers = [*self._headers, ("location", f"/api/tasks/{identity}")]
        else:
            told = crash(error, "POST")
            status, body = told.status_code, told.content
            own = [(name, value) for name, value in told.items() if name != "Content-Type"]
            # Our own bugs are nothing that DRF answers, which says what is allowed.
            ours = [pair for pair in self._headers if status != 500 or pair[0] != "allow"]
            headers = [*ours, *own]
        took = time.monotonic() - self._request.at
        process.add(f"http|{status}|queue|POST")
        process.observe("http_seconds", f"{status}|queue|POST", took)
        self._request.proto.response_bytes(status, [*headers, ("content-length", str(len(body)))], body)
