"""`GET /api/tasks/{id}/callbacks`, and `POST .../callbacks/retry`."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import fields, pages, schema
from tasks_app.api.errors import Conflict, NotFound
from tasks_app.api.view import API, actor_of, both, caller_of
from tasks_app.features.callbacks.models import Delivery, Event, State
from tasks_app.features.callbacks.verbs import NoCallbacks, retry
from tasks_app.handlers.words import rfc3339
from tasks_app.queue.models import Task
from tasks_app.rights import CHANGE_TASKS, SEE_TASKS, allowed, needs

DEFAULT_LIMIT, MAX_LIMIT = 20, 100


class CallbackObject(serializers.Serializer):
    """The telling of one end of a task. What the other side answered is not shown, but for the status."""

    id = serializers.UUIDField(help_text="The header `webhook-id`, the same in all tries.")
    event = serializers.ChoiceField(choices=Event.values, help_text="The `type` of what is sent.")
    url = serializers.CharField(allow_null=True, help_text="null for an API key without the scope tasks:read.")
    status = serializers.ChoiceField(
        choices=State.values, help_text="`failed`: after its last try, or because the receiver answered 410."
    )
    tries = serializers.IntegerField(min_value=0, help_text="Since it was written, or last sent anew.")
    created_at = serializers.DateTimeField()
    next_at = serializers.DateTimeField(allow_null=True, help_text="When it is tried next, while it is pending.")
    last_try_at = serializers.DateTimeField(allow_null=True)
    last_status = serializers.IntegerField(allow_null=True, help_text="The HTTP status of the last answer.")
    last_error = serializers.CharField(help_text="What was wrong with the last try, in a sentence; blank: nothing.")
    ended_at = serializers.DateTimeField(allow_null=True, help_text="When it was delivered or failed.")


_FIELDS = tuple(CallbackObject().fields)
_MOMENTS = ("created_at", "next_at", "last_try_at", "ended_at")
_LIST = OpenApiResponse(CallbackObject(many=True), "The newest first.")
_GONE = schema.failure("No such task, and none of its callbacks is kept.", missing="Task not found")


class CallbacksView(API):
    """`GET /api/tasks/{id}/callbacks`."""

    scopes = needs(GET=SEE_TASKS)

    @schema.call(
        "list_callbacks",
        "tasks",
        {200: _LIST, 404: _GONE},
        [schema.TASK_ID, *pages.NEXT],
        query={
            "limit": fields.digits(1, MAX_LIMIT, "How many, the newest first.", default=DEFAULT_LIMIT),
            "cursor": pages.ID_CURSOR,
        },
    )
    def get(self, request: Request, task_id: str) -> Response:
        """List what was told of a task's ends, or is to be. It is kept when the task is deleted."""
        identity, limit = _in_path(request, task_id), self.asked.get("limit", DEFAULT_LIMIT)
        return _answer(request, identity, limit, self.asked.get("cursor"))


class RetryView(API):
    """`POST /api/tasks/{id}/callbacks/retry`."""

    scopes = needs(POST=CHANGE_TASKS)

    @schema.call(
        "retry_callbacks_of_task",
        "tasks",
        {
            200: _LIST,
            404: _GONE,
            409: schema.failure("It has none.", none=f"task {schema.UUID_EXAMPLE} has no callbacks"),
        },
        [schema.TASK_ID],
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Send a task's callbacks anew: those that are not delivered, and the newest.

        They have all tries before them.
        """
        identity = _in_path(request, task_id)
        try:
            retry(identity, actor_of(request))
        except NoCallbacks as error:
            raise Conflict(str(error)) from None
        return self.answer(request, str(identity))

    def answer(self, request: Request, target: str) -> Response:
        """The task's callbacks."""
        return _answer(request, _in_path(request, target), DEFAULT_LIMIT)


def _in_path(request: Request, text: str) -> UUID:
    """The id of a path. Raises NotFound unless there is such a task, or a callback of one, that the caller knows."""
    identity, types = fields.task_id(text), caller_of(request).types
    if identity is not None:
        known = {} if types is None else {"task_type__in": types}
        if (
            Task.objects.filter(pk=identity, **known).exists()
            or Delivery.objects.filter(task=identity, **known).exists()
        ):
            return identity
    raise NotFound


def _answer(request: Request, task: UUID, limit: int, before: UUID | None = None) -> Response:
    rows = Delivery.objects.filter(task=task).order_by("-pk")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.values(*_FIELDS)[: limit + 1])
    for row in found:
        row |= {name: rfc3339(row[name]) for name in _MOMENTS} | {"id": str(row["id"])}
        if not allowed(caller_of(request), SEE_TASKS):
            row["url"] = None
    more = found[limit - 1]["id"] if len(found) > limit else None
    return Response(found[:limit], headers=pages.next_page(request, more))


urlpatterns = [
    *both("api/tasks/<one:task_id>/callbacks", CallbacksView.as_view(), "callbacks"),
    *both("api/tasks/<one:task_id>/callbacks/retry", RetryView.as_view(), "callbacks-retry"),
]
