"""Decides what the caller of a request may do, by its API key. The views and the fast path ask the same object."""

from __future__ import annotations

import hmac
import os

import structlog

from tasks_app.conf import Environment
from tasks_app.keys.api_keys import Keys, digest, keys
from tasks_app.keys.caller import ANYONE, Caller
from tasks_app.logs.rate_limit import LogOnce

log = structlog.get_logger(__name__)

HOW_TO_CREATE = "manage.py apikey create NAME makes one"
NO_KEY_EXISTS = f"no API key has been made yet, and without one other machines are refused: {HOW_TO_CREATE}"
KEY_REQUIRED = f"this needs an API key: send it as Authorization: Bearer KEY ({HOW_TO_CREATE})"
NOT_BEARER = "the Authorization header must be: Bearer KEY"
UNKNOWN_KEY = "this API key is unknown or revoked"


class Unauthorized(Exception):
    """The request has no sufficient key; the message says why."""


class Access:
    """Admits requests by the keys in force. Thread-safe."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._log_once = LogOnce()

    def due(self, env: Environment) -> bool:
        """True if `admit` with `may_query=False` admits nobody before the keys are read anew."""
        return env.auth != "off" and self._keys.cached() is None

    def renew(self, env: Environment) -> None:
        """Read the keys if that is due. Raises DatabaseError if there has been no reading yet."""
        if env.auth != "off":
            self._keys.current()

    def admit(self, env: Environment, given: str | None, *, may_query: bool = True) -> Caller:
        """Admit a request by its Authorization header, None if it has none.

        Keys are required beyond loopback, and everywhere once a first key was made, even if it was revoked: a proxy may
        expose loopback to the world. With DAEMON_AUTH=off they are never required. Returns what the caller may do:
        everything if no key is required, and for the supervisor. Raises Unauthorized, also for a key that has expired
        meanwhile, and DatabaseError if the keys cannot be read. With `may_query=False` it sends no query, and raises
        Unauthorized if the keys have to be read.
        """
        if env.auth == "off":
            return ANYONE
        known = self._keys.current() if may_query else self._keys.cached()
        if known is None:
            raise Unauthorized("the keys have to be read")
        if not known.any_made and not env.exposed:
            return ANYONE
        if given is None:
            if known.any_made:
                raise Unauthorized(KEY_REQUIRED)
            if self._log_once.is_due():
                log.warning(NO_KEY_EXISTS)
            raise Unauthorized(NO_KEY_EXISTS)
        scheme, _, key = given.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(NOT_BEARER)
        key = key.strip()
        caller = self._keys.match(key, known)
        if caller is None:
            if not _is_supervisor(key):
                raise Unauthorized(UNKNOWN_KEY)
            return ANYONE
        if caller.expires_at is not None and caller.expired:
            raise Unauthorized(f"this API key expired at {caller.expires_at:%Y-%m-%dT%H:%M:%SZ}")
        return caller


def _is_supervisor(key: str) -> bool:
    """True for the key with which `manage.py up` calls its own web server. The database does not have it."""
    supervisor = os.environ.get("TASKDAEMON_UP_KEY_DIGEST", "")
    return bool(supervisor) and hmac.compare_digest(digest(key[:200]), supervisor)


access = Access(keys)
