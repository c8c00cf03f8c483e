"""`GET /api/tasks/{id}/events`: what happens to a task, as Server-Sent Events."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import schema
from tasks_app.api.errors import Invalid, NotFound
from tasks_app.api.view import API, KeyCheck, both, task_in_path
from tasks_app.api.waiting import Deferred, deferred_of
from tasks_app.conf import ours
from tasks_app.features.events.reading import BEGINNING, OPTIONAL_PATTERN, PATTERN, EventId, has_ended, parse
from tasks_app.field import Faults, Field, literal, refuse
from tasks_app.keys.api_keys import Scope
from tasks_app.queue.models import Task
from tasks_app.rights import SEE_TASKS, needs

CONTENT_TYPE = "text/event-stream"
#: Proxies are not to keep events back: nginx knows the second header.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class NoStreams(exceptions.APIException):
    """501: another server than `manage.py web` serves this."""

    status_code = 501
    default_detail = (
        f"this web server cannot send events ({ours('web')} can); read GET /api/tasks/{{id}} and its attempts instead"
    )


class NoStreamPlace(exceptions.APIException):
    """503: too many streams are open."""

    status_code = 503
    default_detail = (
        "too many event streams are open already, or too many of this API key; try again later, or read the task "
        "with wait"
    )


class EventStream(NamedTuple):
    """The events of `task` after `after`, for as long as the caller's key is in force."""

    task: UUID
    after: EventId
    key: KeyCheck


class EventsFollow(Response):
    """The headers of a stream, which `Streams` continues. `deferred` has its place."""

    def __init__(self, deferred: Deferred, stream: EventStream) -> None:
        super().__init__(headers=HEADERS)
        self.deferred, self.stream = deferred, stream


_STATUS = '{"status":"processing","attempt":1,"node":"n1","started_at":"2026-01-31T09:00:00.000000Z"}'
_LOG = '{"attempt":1,"at":"2026-01-31T09:00:01.000000Z","stream":"stderr","text":"hello\\n"}'
_EXAMPLES = [
    OpenApiExample("the first event", {"id": "1.0", "event": "status", "data": _STATUS, "retry": 2000}),
    OpenApiExample("a log", {"id": "1.1", "event": "log", "data": _LOG}),
]


def _event_id(name: str, text: str, faults: Faults) -> EventId | None:
    if (found := parse(text)) is None:
        refuse(faults, name, "the id of an event, such as 1.0", literal(text))
    return found


_ID = {"type": "string", "pattern": OPTIONAL_PATTERN}
_PARAMETERS = [
    schema.TASK_ID,
    OpenApiParameter(
        "Last-Event-ID", _ID, OpenApiParameter.HEADER, description="Only events after the one with this `id`."
    ),
]
_QUERY = {
    "after": Field(
        {
            "type": "string",
            "pattern": PATTERN,
            "description": "The same, for clients that cannot send the header, which counts more.",
        },
        _event_id,
    )
}
#: As OpenAPI before 3.2 is read: the schema of a stream is that of each event.
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": OPTIONAL_PATTERN, "description": "Absent at the `end` of a deleted task."},
        "event": {"type": "string", "enum": ["status", "progress", "log", "note", "end"]},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "A JSON object."},
        "retry": {
            "type": "integer",
            "description": "Of the first event: milliseconds to wait before a new connection.",
        },
    },
    "required": ["event", "data"],
}
_ANSWERS: dict[Any, OpenApiResponse] = {
    (200, CONTENT_TYPE): OpenApiResponse(
        _EVENT,
        "The events `status`, `progress`, `log` and `note`, as they happen; `end` is the last one.",
        examples=_EXAMPLES,
    ),
    204: OpenApiResponse(None, "The given id is that of the `end` of the task: nothing follows."),
    **schema.BAD,
    **schema.NO_TASK,
    501: schema.failure(
        f"The daemon is served by another program than `{ours('web')}`.", other=NoStreams.default_detail
    ),
}


class EventsView(API):
    """`GET /api/tasks/{id}/events`."""

    scopes = needs(GET=SEE_TASKS)

    @schema.call("follow_task", "tasks", _ANSWERS, _PARAMETERS, query=_QUERY)
    def get(self, request: Request, task_id: str) -> Response:
        """Follow a task: status, progress and log as Server-Sent Events. From its beginning, or after an event.

        The connection stays open until the task is final. With the id of an event any web process resumes."""
        faults: Faults = []
        after: EventId | None = self.asked.get("after")
        if last := request.META.get("HTTP_LAST_EVENT_ID", ""):  # a blank one is none, says the HTML standard
            after = _event_id("Last-Event-ID", last, faults)
        if faults:
            raise Invalid(faults)
        identity = task_in_path(request, task_id)
        if not Task.objects.filter(pk=identity).exists():
            raise NotFound
        if after is not None and has_ended(identity, after):
            return Response(status=204)  # a browser connects again after a 200, and not after this
        if (deferred := deferred_of(request)) is None:
            raise NoStreams
        if not deferred.reserve_stream():
            raise NoStreamPlace
        key = KeyCheck.of(request, Scope.TASKS_READ)
        return EventsFollow(deferred, EventStream(identity, after or BEGINNING, key))


urlpatterns = [
    *both("api/tasks/<one:task_id>/events", EventsView.as_view(), "events"),
]
