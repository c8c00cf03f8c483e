"""DRF's authentication by API key. Every view has it, unless it says that it is open."""

from __future__ import annotations

from typing import Any, NamedTuple

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tasks_app import conf
from tasks_app.keys.access import Unauthorized, access
from tasks_app.keys.caller import Caller, Forbidden, Scope


class Refusal(NamedTuple):
    """Why a key is refused, and the challenge of a 401, "" for another status."""

    status: int
    sentence: str
    challenge: str = ""


class KeyCheck(NamedTuple):
    """What a request that lasts goes on to need: its key, given by the Authorization header, with a scope."""

    authorization: str | None
    scope: Scope

    def refusal(self) -> Refusal | None:
        """Why the same request would be refused now; None if it would not be. May query. Raises DatabaseError if the
        keys cannot be read."""
        try:
            access.admit(conf.environment(), self.authorization).require(self.scope)
        except Unauthorized as refused:
            return Refusal(401, str(refused), challenge(self.authorization is not None))
        except Forbidden as lacking:
            return Refusal(403, str(lacking))
        return None


def challenge(key_given: bool) -> str:
    """The challenge of a 401, as in RFC 6750."""
    return 'Bearer realm="tasks"' + (', error="invalid_token"' if key_given else "")


class KeyAuthentication(BaseAuthentication):
    """Answers 401 to a request without the key that it needs. `request.auth` is its caller (`api.callers`)."""

    def authenticate(self, request: Request) -> tuple[None, Caller]:
        try:
            return None, access.admit(conf.environment(), request.META.get("HTTP_AUTHORIZATION"))
        except Unauthorized as refused:
            raise AuthenticationFailed(str(refused)) from None

    def authenticate_header(self, request: Request) -> str:
        """See `challenge`."""
        return challenge("HTTP_AUTHORIZATION" in request.META)


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document shows it."""

    target_class = "tasks_app.api.authentication.KeyAuthentication"
    name = "APIKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "Made by `manage.py apikey create NAME`. Required beyond loopback, and once a key was made. "
            "It may be limited to scopes (listed at each call), to task types, in time and in rate.",
        }

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """The scope that the key needs. {} means no key, which is valid if none is required."""
        scope = auto_schema.view.scopes.get(auto_schema.method)
        return [{self.name: [str(scope)] if scope else []}, {}]
