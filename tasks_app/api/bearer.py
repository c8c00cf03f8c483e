"""API keys at the door: every address needs one that is not named here as open."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from tasks_app import conf
from tasks_app.api.errors import crash, json_error
from tasks_app.api_keys import Known, digest, keys
from tasks_app.metrics import exposition

log = structlog.get_logger(__name__)

#: Probes and the docs are for anybody, the front door only leads on; a slash at the end makes no difference.
OPEN = frozenset({"", "/health", "/health/live", "/health/ready", "/docs", "/redoc", "/openapi.json", "/admin"})
#: Below these: the admin has logins of its own, static files are those of the docs and of the admin.
OPEN_BELOW = ("/admin/", settings.STATIC_URL)

HOW = "manage.py apikey create NAME makes one"
NONE_YET = f"no API key has been made yet, and without one nothing is done for other machines: {HOW}"
NEEDED = f"this needs an API key: send it as Authorization: Bearer KEY ({HOW})"
NO_BEARER = "the Authorization header must be: Bearer KEY"
UNKNOWN = "this API key is not known, or it was revoked"


class Bearer:
    """401 for calls without a good key, where keys are needed.

    They are needed beyond loopback, and everywhere once a first key was made, revoked or not: somebody wanted a lock,
    and a proxy in front may have opened loopback to the world. DAEMON_AUTH=off: never.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        env = conf.environment()
        self._off, self._exposed = env.auth == "off", env.exposed
        # `manage.py up` asks its own web server, and has no key.
        self._supervisor = os.environ.get("TASKDAEMON_UP_KEY_DIGEST", "")
        self._warned = False

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if self._off or is_open(request.path_info):
            return self._get_response(request)
        try:
            refused = self._refusal(request)
        except DatabaseError as error:
            # Nobody knows who may ask. Prometheus is told what there is to tell without a database.
            if request.path_info.rstrip("/") == "/metrics":
                return HttpResponse(exposition.text(None), content_type=exposition.CONTENT_TYPE)
            return crash(error, request.method)
        return refused or self._get_response(request)

    def _refusal(self, request: HttpRequest) -> HttpResponse | None:
        given = request.META.get("HTTP_AUTHORIZATION")
        known = keys.known()
        if opens(given, known, self._exposed):
            return None
        if given is None:
            if known.ever:
                return _unauthorized(NEEDED)
            self._warn()
            return _unauthorized(NONE_YET)
        scheme, key = _parts(given)
        if scheme != "bearer":
            return _unauthorized(NO_BEARER, error="invalid_token")
        return None if self._is_supervisor(key) else _unauthorized(UNKNOWN, error="invalid_token")

    def _is_supervisor(self, key: str) -> bool:
        return bool(self._supervisor) and hmac.compare_digest(digest(key[:200]), self._supervisor)

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(NONE_YET)


def opens(given: str | None, known: Known, exposed: bool) -> bool:
    """Whether an Authorization header, or none, lets a call pass by this reading of the keys."""
    if not known.ever and not exposed:
        return True
    if given is None:
        return False
    scheme, key = _parts(given)
    return scheme == "bearer" and keys.match(key, known) is not None


def _parts(given: str) -> tuple[str, str]:
    scheme, _, key = given.strip().partition(" ")
    return scheme.lower(), key.strip()


def is_open(path: str) -> bool:
    """Whether an address needs no key."""
    return path.rstrip("/") in OPEN or path.startswith(OPEN_BELOW)


def _unauthorized(sentence: str, error: str = "") -> HttpResponse:
    challenge = 'Bearer realm="tasks"' + (f', error="{error}"' if error else "")
    return json_error(sentence, 401, **{"WWW-Authenticate": challenge})
