"""DRF's authentication by API key. Every view has it, unless it says that it is open."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tasks_app import conf
from tasks_app.keys.access import Unauthorized, access
from tasks_app.keys.caller import Caller


class KeyAuthentication(BaseAuthentication):
    """Answers 401 to a request without the key that it needs. `request.auth` is its caller (`api.callers`)."""

    def authenticate(self, request: Request) -> tuple[None, Caller]:
        try:
            return None, access.admit(conf.environment(), request.META.get("HTTP_AUTHORIZATION"))
        except Unauthorized as refused:
            raise AuthenticationFailed(str(refused)) from None

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401, as in RFC 6750."""
        return 'Bearer realm="tasks"' + (', error="invalid_token"' if "HTTP_AUTHORIZATION" in request.META else "")


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
