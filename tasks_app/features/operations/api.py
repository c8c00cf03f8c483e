"""The body of `POST /api/tasks/redrive`, `/cancel` and `/delete`. Each fault names the field and what is valid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Any, ClassVar, TypeVar

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import schema
from tasks_app.api.callers import actor_of, caller_of
from tasks_app.api.errors import Conflict, Invalid, NotFound
from tasks_app.api.inputs import Faults, check_unknown, task_id
from tasks_app.api.json_values import body_of, kind, literal, shown
from tasks_app.api.list_parameters import (
    FILTERS,
    MAX_ERROR_CHARS,
    MAX_IDS,
    MAX_TYPES,
    NAME_PATTERN,
    UUID_PATTERN,
    parse_filter,
)
from tasks_app.api.moments import rfc3339
from tasks_app.api.option_fields import MAX_TAGS, TAG_PATTERN
from tasks_app.api.option_schema import JSONObject
from tasks_app.api.view import API, both
from tasks_app.features.operations.acts import abort, counted, report, start
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import MAX_LIMIT, MAX_RATE, MIN_RATE, Plan, PlanRefused, preview, warnings
from tasks_app.keys.caller import Scope
from tasks_app.queue.models import FailureReason, Status
from tasks_app.queue.task_filter import TaskFilter

FIELDS = ("filter", "dry_run", "rate", "limit")
_EXAMPLE = '{"filter": {"type": "resize", "failure_reason": "timeout"}}'
#: Conditions that are integers; those that are one text; those of which a task must have all.
_INTEGERS, _TEXTS, _REPEATED = {"priority_min", "priority_max"}, {"created_after", "created_before", "error"}, {"tag"}


def parse(body: Any, verb: str, types: frozenset[str] | None, handlers: Collection[str]) -> tuple[Plan, bool]:
    """The plan of a request, and whether it is a dry run. Raises Invalid with every fault at once."""
    if not isinstance(body, dict):
        raise Invalid([("", f"the body must be a JSON object such as {_EXAMPLE}, not {kind(body)}")])
    faults: Faults = []
    check_unknown(body, FIELDS, "field", faults)
    wanted = _filter(body.get("filter"), handlers, faults)
    dry_run = body.get("dry_run")
    if dry_run is not None and not isinstance(dry_run, bool):
        faults.append(("dry_run", f"dry_run must be true or false, not {shown(dry_run)}"))
    rate = body.get("rate")
    if rate is not None and (type(rate) not in (int, float) or not MIN_RATE <= rate <= MAX_RATE):
        faults.append(
            ("rate", f"rate must be a number of tasks a second from {MIN_RATE:g} to {MAX_RATE:,.0f}, not {shown(rate)}")
        )
    limit = body.get("limit")
    if limit is not None and (type(limit) is not int or not 1 <= limit <= MAX_LIMIT):
        faults.append(("limit", f"limit must be an integer from 1 to {MAX_LIMIT:,}, not {shown(limit)}"))
    if faults:
        raise Invalid(faults)
    plan = Plan(verb, wanted, types, rate=None if rate is None else float(rate), limit=limit)
    try:
        plan.check()
    except PlanRefused as refused:
        raise Invalid([("filter", str(refused))]) from None
    return plan, bool(dry_run)


def _filter(given: Any, handlers: Collection[str], faults: Faults) -> TaskFilter:
    known = f"the conditions are {', '.join(FILTERS)}"
    if not isinstance(given, dict):
        what = "is missing" if given is None else f"must be a JSON object, not {kind(given)}"
        faults.append(("filter", f"filter {what}; {known}"))
        return TaskFilter()
    if not given:
        faults.append(("filter", f"filter must have a condition, or it would mean every task; {known}"))
        return TaskFilter()
    query, inner = QueryDict(mutable=True), Faults()
    for name, value in given.items():
        if (texts := _texts(name, value, inner)) is not None:
            query.setlist(name, texts)
    found = parse_filter(query, handlers, inner)
    faults += [(f"filter.{name}" if name else "filter", text) for name, text in inner]
    return found


def _texts(name: str, value: Any, faults: Faults) -> list[str] | None:
    """A condition as parameters of the list have it; None if it is invalid, with a fault."""
    if name not in FILTERS:
        return [""]  # reported as unknown
    if name in _INTEGERS:
        if type(value) is int:
            return [str(value)]
        faults.append((name, f"{name} must be an integer from 0 to 100, not {shown(value)}"))
        return None
    if isinstance(value, str):
        return [value]
    texts = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
    if name in _TEXTS or not texts:
        what = "a string" if name in _TEXTS else "a string, or an array of one or more strings"
        faults.append((name, f"{name} must be {what}, not {_given(value)}"))
        return None
    if name in _REPEATED:
        return list(value)
    if any("," in each for each in value):
        faults.append((name, f"a string of the array {name} has a comma, which none of its values has"))
        return None
    return [",".join(value)]


def _given(value: Any) -> str:
    """What a condition is that has no texts, or an array of them where one text is wanted."""
    if not isinstance(value, list):
        return shown(value)
    if not value:
        return "an empty array"
    wrong = next((each for each in value if not isinstance(each, str)), value[0])
    return f"an array with {shown(wrong)}"


# The shapes of operations in the OpenAPI document.

_NUMBERS = {"type": "object", "additionalProperties": {"type": "integer"}}


def _shown_texts(word: str, most: int, commas: bool = True) -> dict[str, Any]:
    """`most` words: an array, or one string, with commas between them."""
    several = f"(,({word})){{0,{most - 1}}}" if commas else ""
    return {
        "oneOf": [
            {"type": "string", "pattern": f"^({word}){several}$"},
            {"type": "array", "items": {"type": "string", "pattern": f"^({word})$"}, "minItems": 1, "maxItems": most},
        ]
    }


def _words(known: Iterable[str]) -> dict[str, Any]:
    words = list(map(str, known))
    return _shown_texts("|".join(words), len(words))


@extend_schema_field(
    {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            "status": _words(Status),
            "type": _shown_texts(NAME_PATTERN, MAX_TYPES),
            "failure_reason": _words(FailureReason),
            "tag": _shown_texts(TAG_PATTERN, MAX_TAGS, commas=False),
            "priority_min": {"type": "integer", "minimum": 0, "maximum": 100},
            "priority_max": {"type": "integer", "minimum": 0, "maximum": 100},
            "created_after": {"type": "string", "format": "date-time"},
            "created_before": {"type": "string", "format": "date-time"},
            "ids": _shown_texts(UUID_PATTERN, MAX_IDS),
            "error": {"type": "string", "minLength": 1, "maxLength": MAX_ERROR_CHARS},
        },
    }
)
class FilterField(serializers.JSONField):
    """Conditions for tasks."""


@extend_schema_field(_NUMBERS)
class NumbersField(serializers.JSONField):
    """Numbers by names."""


class NewOperation(serializers.Serializer):
    """An act on all tasks that match a filter."""

    filter = FilterField(
        help_text="The filters of `GET /api/tasks`; at least one. Lists are strings with commas, or arrays."
    )
    dry_run = serializers.BooleanField(required=False, allow_null=True, help_text="Only count.")
    rate = serializers.FloatField(
        required=False, allow_null=True, min_value=MIN_RATE, max_value=MAX_RATE, help_text="Tasks a second."
    )
    limit = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=MAX_LIMIT, help_text="At most so many tasks."
    )


class OperationStarted(serializers.Serializer):
    """The stored operation."""

    operation_id = serializers.UUIDField()


class OperationPreview(serializers.Serializer):
    """What an operation would do."""

    matched = serializers.IntegerField(min_value=0, help_text="Tasks that it would change.")
    matched_exact = serializers.BooleanField(help_text="False: counting ended early, and there are at least so many.")
    by_type = NumbersField()
    by_status = NumbersField()
    by_reason = NumbersField(help_text="By `failure_reason`, of failed tasks.")
    skipped = NumbersField(help_text="By status: those named by `ids` that it would skip.")
    oldest = serializers.DateTimeField(allow_null=True, help_text="When the oldest of them was created.")
    warnings = serializers.ListField(child=serializers.CharField(), help_text="Why tasks would not run, in sentences.")


class OperationObject(serializers.Serializer):
    """An operation."""

    id = serializers.UUIDField()
    verb = serializers.ChoiceField(choices=Verb.choices)
    state = serializers.ChoiceField(
        choices=OperationState.choices, help_text="`stopped`: by itself, because too many redriven tasks failed again."
    )
    filter = JSONObject(help_text="Its conditions.")
    matched = serializers.IntegerField(min_value=0, help_text="Tasks that matched at its start.")
    matched_exact = serializers.BooleanField(help_text="False: at least so many.")
    done = serializers.IntegerField(min_value=0)
    skipped = NumbersField(
        help_text="By reason: the status that a task had, `living_twin`, `gone` or `changed` (since the start)."
    )
    failed = serializers.IntegerField(min_value=0, help_text="Tasks whose change the database refused.")
    priority = serializers.IntegerField(allow_null=True)
    rate = serializers.FloatField(allow_null=True)
    limit = serializers.IntegerField(allow_null=True)
    canary = serializers.IntegerField(allow_null=True)
    stop_share = serializers.FloatField(allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    ended_at = serializers.DateTimeField(allow_null=True)
    sentence = serializers.CharField(help_text="How it ended; blank while it runs.")


OPERATION_ID = OpenApiParameter(
    "operation_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The operation's id."
)
LOCATION = schema.header("Location", "The operation's address.", 202)
NO_OPERATION = {404: schema.failure("No such operation.", missing="Operation not found")}
STARTED = {
    202: OpenApiResponse(OperationStarted, "The operation is stored; a node begins it within about a second."),
    200: OpenApiResponse(OperationPreview, "With `dry_run`: what it would do. Nothing was changed."),
    400: schema.failure(
        "The request is invalid, and nothing was changed.",
        empty="filter must have a condition, or it would mean every task; the conditions are status, type, ...",
    ),
}
ONE = {200: OperationObject, **NO_OPERATION}
ABORTED = {
    200: OpenApiResponse(OperationObject, "It is aborted: no further batch begins."),
    **NO_OPERATION,
    409: schema.failure("It is over.", over="Operation is already completed; only a running one can be aborted"),
}
LIMIT = OpenApiParameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, description="How many, the newest first."
)
EXAMPLES = [
    OpenApiExample("timeouts", {"filter": {"type": "prime", "failure_reason": "timeout"}}, request_only=True),
    OpenApiExample(
        "count first", {"filter": {"type": "prime", "failure_reason": "timeout"}, "dry_run": True}, request_only=True
    ),
    OpenApiExample("started", {"operation_id": schema.UUID_EXAMPLE}, response_only=True, status_codes=["202"]),
]


# The calls on all tasks that match, and on the operations that they start.

MISSING = "Operation not found"
DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT = 20, 100
#: Operations that are read for a list.
MAX_READ = 1000

Post = TypeVar("Post", bound=Callable[..., Any])


class _StartView(API):
    scopes: ClassVar = {"POST": Scope.OPERATE}
    verb: ClassVar[Verb]

    def start(self, request: Request) -> Response:
        """Start the operation that the body describes, or count what it would do."""
        plan, dry_run = parse(body_of(request), self.verb, caller_of(request).types, conf.handlers())
        if plan.wanted.error is not None:
            caller_of(request).require(Scope.TASKS_READ)  # the number of matches would tell what errors say
        if dry_run:
            found = preview(plan)
            oldest = rfc3339(found.oldest)
            return Response({**counted(found), "oldest": oldest, "warnings": warnings(self.verb, found.by_type)})
        operation = start(plan, actor_of(request))
        headers = {"Location": f"/api/operations/{operation.pk}"}
        return Response({"operation_id": str(operation.pk)}, status=202, headers=headers)


def _starts(operation_id: str, examples: Sequence[OpenApiExample]) -> Callable[[Post], Post]:
    """Describes a call that starts an operation."""
    return extend_schema(
        operation_id=operation_id,
        tags=["operations"],
        request=NewOperation,
        parameters=[LOCATION],
        responses=STARTED,
        examples=list(examples),
    )


class RedriveAllView(_StartView):
    """`POST /api/tasks/redrive`."""

    verb = Verb.REDRIVE

    @_starts("redrive_tasks", EXAMPLES)
    def post(self, request: Request) -> Response:
        """Queue all failed tasks again that match a filter. They get new budgets of retries, as by a single redrive."""
        return self.start(request)


class CancelAllView(_StartView):
    """`POST /api/tasks/cancel`."""

    verb = Verb.CANCEL

    @_starts("cancel_tasks", EXAMPLES[-1:])
    def post(self, request: Request) -> Response:
        """Cancel all pending and running tasks that match a filter."""
        return self.start(request)


class DeleteAllView(_StartView):
    """`POST /api/tasks/delete`."""

    verb = Verb.DELETE

    @_starts("delete_tasks", EXAMPLES[-1:])
    def post(self, request: Request) -> Response:
        """Delete all tasks that match a filter, in any status."""
        return self.start(request)


class OperationsView(API):
    """`GET /api/operations`."""

    scopes: ClassVar = {"GET": Scope.OPERATE}

    @extend_schema(
        operation_id="list_operations",
        tags=["operations"],
        parameters=[LIMIT],
        responses={200: OpenApiResponse(OperationObject(many=True), "The newest operations.")},
    )
    def get(self, request: Request) -> Response:
        """List operations, newest first."""
        limit, types = _limit(request), caller_of(request).types
        newest = Operation.objects.order_by("-pk")
        if types is not None:
            newest = newest.filter(types__isnull=False)
        found = (each for each in newest[:MAX_READ] if types is None or _only(each, types))
        return Response([_object(each) for each in islice(found, limit)])


class OperationView(API):
    """`GET /api/operations/{id}`."""

    scopes: ClassVar = {"GET": Scope.OPERATE}

    @extend_schema(operation_id="get_operation", tags=["operations"], parameters=[OPERATION_ID], responses=ONE)
    def get(self, request: Request, operation_id: str) -> Response:
        """Read an operation: how far it is, or how it ended."""
        return Response(_object(_in_path(request, operation_id)))


class AbortView(API):
    """`POST /api/operations/{id}/abort`."""

    scopes: ClassVar = {"POST": Scope.OPERATE}

    @extend_schema(
        operation_id="abort_operation",
        tags=["operations"],
        parameters=[OPERATION_ID],
        request=None,
        responses=ABORTED,
    )
    def post(self, request: Request, operation_id: str) -> Response:
        """Abort a running operation. What it has changed stays; no further batch begins."""
        operation = _in_path(request, operation_id)
        aborted = abort(operation.pk, actor_of(request))
        operation = _in_path(request, operation_id)
        if not aborted:
            raise Conflict(f"Operation is already {operation.state}; only a running one can be aborted")
        return Response(_object(operation))


def _in_path(request: Request, text: str) -> Operation:
    identity = task_id(text)
    operation = None if identity is None else Operation.objects.filter(pk=identity).first()
    types = caller_of(request).types
    if operation is None or (types is not None and not _only(operation, types)):
        raise NotFound(MISSING)
    return operation


def _only(operation: Operation, types: frozenset[str]) -> bool:
    """Whether a key with these types may know it: another key started it that has no further types."""
    return operation.types is not None and set(operation.types) <= types


def _limit(request: Request) -> int:
    faults: Faults = []
    check_unknown(request.query_params, ("limit",), "parameter", faults)
    text = request.query_params.get("limit", str(DEFAULT_PAGE_LIMIT))
    if len(request.query_params.getlist("limit")) > 1:
        faults.append(("limit", "limit is given twice"))
    elif not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_PAGE_LIMIT):
        faults.append(("limit", f"limit must be an integer from 1 to {MAX_PAGE_LIMIT}, not {literal(text)}"))
    if faults:
        raise Invalid(faults)
    return int(text)


def _object(operation: Operation) -> dict[str, object]:
    values = report(operation)
    moments = {name: rfc3339(values[name]) for name in ("created_at", "ended_at")}
    return {**values, "id": str(operation.pk), **moments}


urlpatterns = [
    *both("api/tasks/redrive", RedriveAllView.as_view(), "redrive-all"),
    *both("api/tasks/cancel", CancelAllView.as_view(), "cancel-all"),
    *both("api/tasks/delete", DeleteAllView.as_view(), "delete-all"),
    *both("api/operations", OperationsView.as_view(), "operations"),
    *both("api/operations/<str:operation_id>", OperationView.as_view(), "operation"),
    *both("api/operations/<str:operation_id>/abort", AbortView.as_view(), "abort"),
]
