"""What all calls share: who calls, how a call is addressed and answered, what the caller may see and do by its API key,
and lists as gzip."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast
from uuid import UUID

from django.db import Error
from django.http import HttpResponse
from django.urls import URLPattern, path, register_converter
from django.urls.converters import StringConverter
from django.utils.cache import patch_vary_headers
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app import conf
from tasks_app.api.errors import AlwaysJSON, NotFound
from tasks_app.api.fields import Asks, optional_body, task_id
from tasks_app.api.repeats import REPLAYED, key_in, key_of, meaning_of
from tasks_app.audit import Actor
from tasks_app.field import MAX_NAMED
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.keys.api_keys import Scope
from tasks_app.keys.caller import DIRECT, Caller, Forbidden, Unauthorized, keys
from tasks_app.queue.idempotency import ActRepeated
from tasks_app.queue.models import Task
from tasks_app.queue.submission import IdempotencyKey, NewTask
from tasks_app.queue.task_filter import TaskFilter

# Who calls.


class KeyRefusal(NamedTuple):
    """Why a key is refused, and the challenge of a 401, "" for another status."""

    status: int
    sentence: str
    challenge: str = ""


class KeyCheck(NamedTuple):
    """What a request that lasts goes on to need: its key, given by the Authorization header, with a scope.

    `direct`: no proxy forwarded it.
    """

    authorization: str | None
    scope: Scope
    direct: bool = False

    @classmethod
    def of(cls, request: Request, scope: Scope) -> KeyCheck:
        """What this request goes on to need."""
        return cls(request.META.get("HTTP_AUTHORIZATION"), scope, request.META.get(DIRECT, False))

    def refusal(self) -> KeyRefusal | None:
        """Why the same request would be refused now; None if it would not be, or the keys cannot be read. May query."""
        try:
            keys.admit(conf.environment(), self.authorization, direct=self.direct).require(self.scope)
        except Unauthorized as refused:
            return KeyRefusal(401, str(refused), challenge(self.authorization is not None))
        except Forbidden as lacking:
            return KeyRefusal(403, str(lacking))
        except Error:  # there has been no reading of the keys yet
            pass
        return None


def challenge(key_given: bool) -> str:
    """The challenge of a 401, as in RFC 6750."""
    return 'Bearer realm="tasks"' + (', error="invalid_token"' if key_given else "")


class KeyAuthentication(BaseAuthentication):
    """Answers 401 to a request without the key that it needs. `request.auth` is its caller."""

    def authenticate(self, request: Request) -> tuple[None, Caller]:
        try:
            header, direct = request.META.get("HTTP_AUTHORIZATION"), request.META.get(DIRECT, False)
            return None, keys.admit(conf.environment(), header, direct=direct)
        except Unauthorized as refused:
            raise AuthenticationFailed(str(refused)) from None

    def authenticate_header(self, request: Request) -> str:
        return challenge("HTTP_AUTHORIZATION" in request.META)


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document shows it."""

    target_class = "tasks_app.api.view.KeyAuthentication"
    name = "APIKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": f"Made by `{conf.ours('apikey')} create NAME`. Required beyond loopback, behind a proxy, "
            "and once a key was made. It may be limited to scopes (listed at each call), to task types, in time and in "
            "rate.",
        }

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """The scope that the key needs. {} means no key, which is valid if none is required."""
        scope = auto_schema.view.scopes.get(auto_schema.method)
        return [{self.name: [str(scope)] if scope else []}, {}]


def caller_of(request: Request) -> Caller:
    """The caller of a view's request. Only of views that authenticate."""
    return cast("Caller", request.auth)


def actor_of(request: Request) -> Actor:
    """The caller of a view's request, for the audit log; with the key of a POST that may be repeated.

    The body is a valid one by now.
    """
    key = None
    if request.method == "POST" and "HTTP_IDEMPOTENCY_KEY" in request.META:
        body, view = optional_body(request, "{}"), request.parser_context["view"]
        key = key_of_request(request, lambda: meaning_of(body, view.post.asks.body or {}))
    return Actor("api", caller_of(request).name, key)


def key_of_request(request: Request, meaning: Callable[[], Any]) -> IdempotencyKey | None:
    """The idempotency key of a view's request with a valid body; None if it has none. `meaning`: of the
    body."""
    if (header := request.META.get("HTTP_IDEMPOTENCY_KEY")) is None:
        return None
    address = request.path
    for name, text in request.parser_context["kwargs"].items():
        if name.endswith("_id") and (identity := task_id(text)) is not None:
            address = address.replace(text, str(identity))  # in whatever case it is written
    return key_of(header, caller_of(request).key, address, meaning)


# A call.


class API(APIView):
    """The base of all calls: JSON in, JSON out, whatever the headers say.

    `scopes`: the one that an API key needs for each method. HEAD is GET. A method that is not in it needs none: OPTIONS
    and those that the view does not allow.
    """

    content_negotiation_class = AlwaysJSON
    authentication_classes = (KeyAuthentication,)
    scopes: ClassVar[Mapping[str, Scope]] = {}
    #: What the sentence of a 405 says of a method that callers look for here.
    elsewhere: ClassVar[Mapping[str, str]] = {}
    #: Whether its answers come as gzip to who accepts that: lists.
    compresses: ClassVar[bool] = False
    #: The values of the parameters of its query, as `schema.call` declares them.
    asked: Mapping[str, Any]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Who calls, what the caller may do, and whether the call understands all that is sent, in this order."""
        super().initial(request, *args, **kwargs)
        if request.method == "POST" and (header := request.META.get("HTTP_IDEMPOTENCY_KEY")) is not None:
            key_in(header)
        asks: Asks | None = getattr(getattr(self, (request.method or "").lower(), None), "asks", None)
        self.asked = {} if asks is None else asks.read(request)

    def check_permissions(self, request: Request) -> None:
        """Raise Forbidden if the caller lacks the scope for the method."""
        if (scope := self.scopes.get("GET" if request.method == "HEAD" else request.method or "")) is not None:
            caller_of(request).require(scope)

    def answer(self, request: Request, target: str) -> Response:
        """The answer to an act, once it is done: its target as it is now. So it is the answer to a repeated one too."""
        raise NotImplementedError

    def handle_exception(self, exc: Exception) -> Any:
        """Answer an act that is repeated."""
        if not isinstance(exc, ActRepeated):
            return super().handle_exception(exc)
        try:
            response = self.answer(self.request, exc.target)
        except NotFound:
            gone = f"an earlier request with this Idempotency-Key has done this to {exc.target}, which is gone now"
            response = super().handle_exception(NotFound(gone))
        except Exception as error:
            return super().handle_exception(error)
        response[REPLAYED] = "true"
        return response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Let a list be compressed once it is made."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.compresses and isinstance(response, Response):
            response.add_post_render_callback(partial(compress, request.META.get("HTTP_ACCEPT_ENCODING", "")))
        return response

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """204. The Allow header, which every answer has, lists the methods."""
        return Response(status=204)


class PublicAPI(API):
    """The base of calls that need no key."""

    authentication_classes = ()  # type: ignore[assignment]


class OneTask(StringConverter):
    """What may stand for a task's id: not the word of a call on all tasks."""

    regex = "(?!(?:redrive|cancel|delete|priority)/?$)[^/]+"


register_converter(OneTask, "one")


def both(address: str, view: Any, name: str) -> list[URLPattern]:
    """The address without and with a slash at its end. The OpenAPI document shows the first."""
    return [path(address, view, name=name), path(f"{address}/", view, name=name)]


# What the caller may see and do.


def task_in_path(request: Request, text: str) -> UUID:
    """The id of a path. Raises NotFound if no task can have it, or if a task has it whose type the caller does not
    know. A caller that knows all types learns nothing of the task here."""
    identity, types = task_id(text), caller_of(request).types
    if identity is None:
        raise NotFound
    if types is not None and not Task.objects.filter(pk=identity, task_type__in=types).exists():
        raise NotFound
    return identity


def known_handlers(request: Request, handlers: Mapping[str, Handler]) -> Mapping[str, Handler]:
    """Those of the handlers whose types the caller knows."""
    caller = caller_of(request)
    return {name: handler for name, handler in handlers.items() if caller.knows(name)}


def known_tasks(request: Request, wanted: TaskFilter) -> TaskFilter:
    """The filter, without types that the caller does not know."""
    types = caller_of(request).types
    if types is None:
        return wanted
    return replace(wanted, types=types if wanted.types is None else wanted.types & types)


def check_type(caller: Caller, task_type: str) -> None:
    """Raise Forbidden if the caller may not see and post tasks of this type."""
    if not caller.knows(task_type):
        raise Forbidden(f'this API key is not for the type "{task_type[:100]}"')


def check_types(caller: Caller, new: Sequence[NewTask]) -> None:
    """Raise Forbidden if the caller may not post one of the tasks of a batch."""
    wrong = [index for index, task in enumerate(new) if not caller.knows(task.task_type)]
    if wrong:
        named = ", ".join(f'"{name}"' for name in dict.fromkeys(new[at].task_type for at in wrong[:MAX_NAMED]))
        at = ", ".join(f"tasks[{index}]" for index in wrong[:MAX_NAMED]) + (", ..." if wrong[MAX_NAMED:] else "")
        raise Forbidden(f"this API key is not for the type {named}: {at}; none was stored")


# Lists as gzip, for clients that accept it (`Accept-Encoding`).
#
# BREACH guesses a secret in answers from their sizes. It needs a browser that sends its user's secret along with
# requests that a foreign page chooses. The API takes no cookie, only a key in `Authorization`, which no page of another
# site can send; and the admin's pages, which have a cookie, are not compressed.

#: A smaller answer fits one packet anyway.
MIN_GZIP_BYTES = 1024
#: The fastest level: a seventh of the size of a list of tasks, for 5 ms a megabyte.
GZIP_LEVEL = 1

_GZIP = re.compile(r"(?:^|[,\s])gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)", re.IGNORECASE)


def compressed(accepted: str, body: bytes) -> bytes | None:
    """The body as gzip; None if it is small, or if the header Accept-Encoding does not accept gzip."""
    if len(body) < MIN_GZIP_BYTES or not _GZIP.search(accepted):
        return None
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


def compress(accepted: str, response: HttpResponse) -> None:
    """Compress a response that is rendered."""
    patch_vary_headers(response, ["Accept-Encoding"])
    if (body := compressed(accepted, response.content)) is not None:
        response.content = body
        response["Content-Encoding"] = "gzip"
