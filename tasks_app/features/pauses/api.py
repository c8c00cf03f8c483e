"""`POST /api/handlers/{type}/pause` and `.../resume`: no task of a type starts, until it may again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import schema
from tasks_app.api.errors import Invalid, NotFound
from tasks_app.api.fields import object_with, optional_body
from tasks_app.api.handlers import (
    EXAMPLE,
    NO_HANDLER,
    REASON_FIELD,
    TYPE,
    HandlerObject,
    handler_in_path,
    handler_object,
)
from tasks_app.api.view import API, KeyCheck, actor_of, both, caller_of
from tasks_app.api.waiting import PREFER, Condition, ConditionWait, applied, deferred_of, wait_field, wanted
from tasks_app.features.pauses.verbs import (
    MAX_PAUSE_SECONDS,
    PauseEnded,
    busy_nodes,
    has_settled,
    pause,
    resume,
)
from tasks_app.field import Faults, check_unknown, moment, number, read_body
from tasks_app.keys.api_keys import Scope
from tasks_app.queue.node_models import HandlerPause
from tasks_app.rights import OPERATE, needs

#: When a pause ends by itself, and why it is.
FIELDS = {
    "until": moment("A moment with an offset, by the database's clock.", "for"),
    "for": number(
        0,
        MAX_PAUSE_SECONDS,
        "Seconds from now, more than 0.",
        f"a number of seconds, more than 0 and at most {MAX_PAUSE_SECONDS:,}",
        above=True,
    ),
    "reason": REASON_FIELD,
}
PauseRequest = object_with(
    "PauseRequest", "When a pause ends by itself, by `until` or `for` or neither; and why the type is paused.", FIELDS
)


class Busy(serializers.Serializer):
    """A worker that is busy with tasks of the type."""

    node = serializers.CharField()
    tasks = serializers.ListField(
        child=serializers.UUIDField(),
        help_text="What it runs; empty: it may still start one, within 2.5 s of the pause.",
    )


class PausedHandler(HandlerObject):
    """A handler, and what still runs of it."""

    busy = Busy(
        many=True,
        required=False,
        help_text="Only if a wait was asked for. Empty: none of the type runs, nor starts before the pause ends.",
    )


WAIT = {
    "wait": wait_field("Answer once no worker is busy with the type, or after so many seconds with those that are.")
}
_PAUSED = {
    **EXAMPLE,
    "paused": {"by": "deploy", "since": "2026-01-31T09:00:00.000000Z", "until": None, "reason": "new model"},
}
_EXAMPLES = [
    schema.asked("until it is resumed", {"reason": "new model"}),
    schema.asked("for two hours", {"for": 7200}),
    schema.asked("until a moment", {"until": "2026-01-31T11:00:00Z"}),
    schema.answered("paused", _PAUSED),
    schema.answered(
        "paused, with wait", _PAUSED | {"busy": [{"node": "host-4711-0a1b2c3d", "tasks": [schema.UUID_EXAMPLE]}]}
    ),
]


class PauseView(API):
    """`POST /api/handlers/{type}/pause`."""

    scopes = needs(POST=OPERATE)

    @schema.call(
        "pause_handler",
        "handlers",
        {200: OpenApiResponse(PausedHandler, "The handler, now paused."), 404: NO_HANDLER},
        [TYPE, *PREFER],
        request=PauseRequest,
        examples=_EXAMPLES,
        query=WAIT,
    )
    def post(self, request: Request, type: str) -> Response:
        """Pause a handler. All workers stop starting its tasks within 2 s of the answer, also workers that start later.
        Tasks are accepted and wait; running ones go on. If it is paused already, the end of the pause is replaced, and
        its reason if one is given."""
        handler = handler_in_path(request, type)
        seconds, deferred = wanted(self, request), deferred_of(request)
        until, reason = _read(optional_body(request, '{"for": 7200}'))
        if seconds and deferred is not None:
            deferred.reserve()  # before the pause: a request without a place changes nothing
        try:
            pause(handler.name, actor_of(request), until, reason)
        except PauseEnded as ended:
            raise Invalid([("until", f"until must be in the future: {ended}")]) from None
        return self.answer(request, handler.name)

    def answer(self, request: Request, target: str) -> Response:
        """The handler; with a wait, once it is over."""
        handler, seconds, deferred = handler_in_path(request, target), wanted(self, request), deferred_of(request)
        if seconds is None:
            return Response(handler_object(handler))
        if not seconds or deferred is None or has_settled(target):
            return Response(paused_object(target), headers=applied(seconds))
        settled = Condition("pause", target, has_settled, paused_object)
        deferred.until(ConditionWait(settled, seconds), KeyCheck.of(request, Scope.OPERATE))
        return Response(headers=applied(seconds))


def paused_object(handler: str) -> dict[str, Any]:
    """The object of a handler whose pause was waited for, read now. Raises NotFound if a reload has removed it."""
    if (known := conf.handlers().get(handler)) is None:
        raise NotFound(f'"{handler}" was removed from handlers.toml; its pause stays')
    busy = [{"node": node.name, "tasks": list(map(str, node.tasks))} for node in busy_nodes(handler)]
    return handler_object(known) | {"busy": busy}


class ResumeView(API):
    """`POST /api/handlers/{type}/resume`."""

    scopes = needs(POST=OPERATE)

    @schema.call(
        "resume_handler",
        "handlers",
        {
            200: OpenApiResponse(HandlerObject, "The handler, which is not paused."),
            204: OpenApiResponse(description="The pause of a type that handlers.toml no longer has is ended."),
            404: NO_HANDLER,
        },
        [TYPE],
        examples=[schema.answered("resumed", EXAMPLE)],
    )
    def post(self, request: Request, type: str) -> Response:
        """Resume a handler. Its tasks start within a second. If it is not paused, nothing changes."""
        if not (caller_of(request).knows(type) and HandlerPause.objects.of(type)):
            handler_in_path(request, type)  # handlers.toml need not have the type of a pause
        resume(type, actor_of(request))
        return self.answer(request, type)

    def answer(self, request: Request, target: str) -> Response:
        """The handler, if it still exists."""
        if target not in conf.handlers():
            return Response(status=204)
        return Response(handler_object(handler_in_path(request, target)))


def _read(body: Mapping[str, Any]) -> tuple[datetime | timedelta | None, str | None]:
    """When, or after how long, the pause of a request's body ends by itself, and its reason. Raises Invalid with every
    fault at once."""
    faults: Faults = []
    check_unknown(body, FIELDS, "field", faults)
    if None not in (body.get("until"), body.get("for")):
        faults.append(("for", "until and for are both given; give one of them"))
    given = read_body(body, FIELDS, faults)
    if faults:
        raise Invalid(faults)
    return timedelta(seconds=given["for"]) if "for" in given else given.get("until"), given.get("reason")


urlpatterns = [
    *both("api/handlers/<str:type>/pause", PauseView.as_view(), "pause"),
    *both("api/handlers/<str:type>/resume", ResumeView.as_view(), "resume"),
]
