"""`GET /api/tasks/{id}/callbacks`, `POST .../callbacks/retry`, and `POST /api/callbacks/give-up`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import fields, pages, schema
from tasks_app.api.errors import Conflict, Invalid, NotFound
from tasks_app.api.view import API, actor_of, both, caller_of
from tasks_app.features.callbacks.models import Delivery, Event, State
from tasks_app.features.callbacks.verbs import (
    MAX_COUNTED,
    MAX_NAMED,
    NoCallbacks,
    counted,
    give_up,
    pending_of,
    retry,
)
from tasks_app.field import Faults, Field, flag, moment, refuse, shown
from tasks_app.queue.models import Task
from tasks_app.rights import CHANGE_TASKS, OPERATE, SEE_TASKS, allowed, needs

DEFAULT_LIMIT = 20


class CallbackObject(serializers.Serializer):
    """The telling of one end of a task. What the other side answered is not shown, but for the status."""

    id = serializers.UUIDField(help_text="The header `webhook-id`, the same in all tries.")
    event = serializers.ChoiceField(choices=Event.values, help_text="The `type` of what is sent.")
    url = serializers.CharField(allow_null=True, help_text="null for an API key without the scope tasks:read.")
    status = serializers.ChoiceField(
        choices=State.values, help_text="`failed`: after its last try, because of an answer 410, or given up."
    )
    tries = serializers.IntegerField(min_value=0, help_text="Since it was written, or last sent anew.")
    created_at = serializers.DateTimeField()
    next_at = serializers.DateTimeField(allow_null=True, help_text="When it is tried next, while it is pending.")
    last_try_at = serializers.DateTimeField(allow_null=True)
    last_status = serializers.IntegerField(allow_null=True, help_text="The HTTP status of the last answer.")
    last_error = serializers.CharField(help_text="What was wrong with the last try, or who gave it up; blank: nothing.")
    ended_at = serializers.DateTimeField(allow_null=True, help_text="When it was delivered or failed.")


_FIELDS = tuple(CallbackObject().fields)
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
        query=pages.paged(pages.ID_CURSOR, 100, "How many, the newest first.", default=DEFAULT_LIMIT),
    )
    def get(self, request: Request, task_id: str) -> Response:
        """List what was told of a task's ends, or is to be. It is kept when the task is deleted."""
        identity, limit = _in_path(request, task_id), self.asked["limit"]
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

        They have all their tries again.
        """
        identity = _in_path(request, task_id)
        try:
            retry(identity, actor_of(request))
        except NoCallbacks as error:
            raise Conflict(str(error)) from None
        return self.answer(request, str(identity))

    def answer(self, request: Request, target: str) -> Response:
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
    if not allowed(caller_of(request), SEE_TASKS):
        found = [{**row, "url": None} for row in found]
    more = found[limit - 1]["id"] if len(found) > limit else None
    return Response(found[:limit], headers=pages.next_page(request, more))


# Give up.


def _text(most: int, help: str) -> Field:
    def read(name: str, value: Any, faults: Faults) -> Any:
        if not isinstance(value, str) or not 1 <= len(value) <= most or "\0" in value:
            refuse(faults, name, f"a string of 1 to {most} characters", shown(value))
        return value

    return Field({"type": "string", "minLength": 1, "maxLength": most, "description": help}, read)


CONDITIONS = {
    "host": _text(255, "Only those to this host and port, such as `example.org:443`."),
    "type": _text(100, "Only those of tasks of this type."),
    "created_before": moment("Only those written before this time."),
}
_CONDITIONS = ", ".join(CONDITIONS)


def _filter(name: str, value: Any, faults: Faults) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        what = f"a JSON object with a condition ({_CONDITIONS})"
        refuse(faults, name, what, "{}, which would mean every callback" if value == {} else shown(value))
        return {}
    # null is refused: taken for absent, it would mean more callbacks.
    conditions = {one: replace(field, required=one in value) for one, field in CONDITIONS.items()}
    try:
        return fields.read_object(value, conditions, "{...}")
    except Invalid as refused:
        faults += [(f"{name}.{condition}" if condition else name, text) for condition, text in refused.faults]
        return {}


FILTER = Field(
    {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {name: dict(condition.schema) for name, condition in CONDITIONS.items()},
        "description": "Which pending callbacks: all conditions hold, at least one is given.",
    },
    _filter,
    required=True,
)
GIVE_UP = {"filter": FILTER, "dry_run": flag("Only count.")}
GiveUp = fields.object_with("GiveUp", "Which pending callbacks are given up.", GIVE_UP)


class GivenUp(serializers.Serializer):
    """What was given up, and what still matches."""

    given_up = serializers.IntegerField(
        min_value=0, help_text="By this request; 0 with `dry_run`, and in the answer to a repeated request."
    )
    matched = serializers.IntegerField(
        min_value=0, help_text="Pending callbacks that match now. Not 0 without `dry_run`: ask again for the rest."
    )
    matched_exact = serializers.BooleanField(
        help_text=f"False: counting ended after {MAX_COUNTED:,} callbacks, and there are at least so many."
    )
    by_host = schema.numbers(
        allow_null=True,
        help_text=(
            f"Of these, those of the {MAX_NAMED} hosts with most. null for an API key without the scope tasks:read."
        ),
    )
    by_type = schema.numbers()
    oldest = serializers.DateTimeField(allow_null=True, help_text="When the oldest of them was written.")


_EXAMPLE = {"filter": {"host": "example.org:443", "created_before": "2026-01-31T09:00:00Z"}}


class GiveUpView(API):
    """`POST /api/callbacks/give-up`."""

    scopes = needs(POST=OPERATE)

    @schema.call(
        "give_up_callbacks",
        "operations",
        {
            200: OpenApiResponse(GivenUp, "They have failed. With `dry_run` nothing was changed."),
            400: schema.failure(
                "The request is invalid, and nothing was changed.",
                empty=f"filter must be a JSON object with a condition ({_CONDITIONS}), not null",
            ),
        },
        request=GiveUp,
        examples=[schema.asked("to a dead host", _EXAMPLE), schema.asked("count first", {**_EXAMPLE, "dry_run": True})],
    )
    def post(self, request: Request) -> Response:
        """Give up pending callbacks: they fail without a further try. Up to 10,000 a call, and for about a second."""
        asked = fields.read_object(fields.body_of(request), GIVE_UP, '{"filter": {"host": "example.org:443"}}')
        done = 0
        if not asked.get("dry_run"):
            done = give_up(self._rows(request, asked), actor_of(request), **asked["filter"])
        return self._counted(request, asked, done)

    def answer(self, request: Request, target: str) -> Response:
        return self._counted(request, fields.read_object(fields.body_of(request), GIVE_UP, ""), 0)

    def _rows(self, request: Request, asked: dict[str, Any]) -> Any:
        conditions = asked["filter"]
        return pending_of(
            conditions.get("host"), conditions.get("type"), conditions.get("created_before"), caller_of(request).types
        )

    def _counted(self, request: Request, asked: dict[str, Any], done: int) -> Response:
        found = counted(self._rows(request, asked))
        by_host = dict(found.by_host.most_common()) if allowed(caller_of(request), SEE_TASKS) else None
        return Response({
            "given_up": done, "matched": found.matched, "matched_exact": found.exact,
            "by_host": by_host, "by_type": dict(found.by_type.most_common()), "oldest": found.oldest,
        })  # fmt: skip


urlpatterns = [
    *both("api/tasks/<one:task_id>/callbacks", CallbacksView.as_view(), "callbacks"),
    *both("api/tasks/<one:task_id>/callbacks/retry", RetryView.as_view(), "callbacks-retry"),
    *both("api/callbacks/give-up", GiveUpView.as_view(), "callbacks-give-up"),
]
