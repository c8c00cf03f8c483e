"""The base of all calls, and how each is addressed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.urls import URLPattern, path, register_converter
from django.urls.converters import StringConverter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app.api.callers import ScopePermission
from tasks_app.api.errors import AlwaysJSON
from tasks_app.keys.caller import Scope


class API(APIView):
    """The base of all calls: JSON in, JSON out, whatever the headers say.

    `scopes`: the one that an API key needs for each method.
    """

    content_negotiation_class = AlwaysJSON
    permission_classes = (ScopePermission,)
    scopes: ClassVar[Mapping[str, Scope]] = {}

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """204. The Allow header, which every answer has, lists the methods."""
        return Response(status=204)


class PublicAPI(API):
    """The base of calls that need no key."""

    authentication_classes = ()
    permission_classes = ()  # type: ignore[assignment]


class OneTask(StringConverter):
    """What may stand for a task's id: not the word of a call on all tasks."""

    regex = "(?!(?:redrive|cancel|delete)/?$)[^/]+"


register_converter(OneTask, "one")


def both(address: str, view: Any, name: str) -> list[URLPattern]:
    """The address without and with a slash at its end. The OpenAPI document shows the first."""
    return [path(address, view, name=name), path(f"{address}/", view, name=name)]
