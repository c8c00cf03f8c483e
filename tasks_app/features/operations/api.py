"""The calls on all tasks that match a filter (`POST /api/tasks/redrive`, `/cancel`, `/delete`, `/priority`), and on
operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import fields, pages, schema
from tasks_app.api.errors import Conflict, Invalid, NotFound
from tasks_app.api.list_parameters import CONDITIONS, filter_of
from tasks_app.api.view import API, actor_of, both, caller_of
from tasks_app.features.operations.acts import OF_ERRORS, ROWS_READ, Preview, abort, preview, start, warnings
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import DEFAULT_STOP_SHARE, OPTIONS, Option, Plan, bulk_acts
from tasks_app.field import Faults, Field, check_unknown, flag, integer, kind, number, read_body, refuse, shown
from tasks_app.keys.api_keys import Scope
from tasks_app.queue.task_filter import OTHER_NAMES, TaskFilter
from tasks_app.rights import OPERATE, SEE_PAYLOADS, allowed, needs

# What is asked for. A filter has the conditions of `GET /api/tasks`, whose parameters are read in the same way.

_KNOWN = f"the conditions are {', '.join(CONDITIONS)}"


def _filter(name: str, value: Any, faults: Faults) -> TaskFilter:
    if not isinstance(value, dict):
        what = "is missing" if value is None else f"must be a JSON object, not {kind(value)}"
        faults.append((name, f"{name} {what}; {_KNOWN}"))
        return TaskFilter()
    if not value:
        faults.append((name, f"{name} must have a condition, or it would mean every task; {_KNOWN}"))
        return TaskFilter()
    query, inner = QueryDict(mutable=True), Faults()
    for condition, words in value.items():
        if (texts := _texts(condition, words, inner)) is not None:
            query.setlist(condition, texts)
    wanted = filter_of(fields.read_query(query, CONDITIONS, inner, "condition"), inner)
    faults += [(f"{name}.{condition}" if condition else name, text) for condition, text in inner]
    return wanted


def _texts(name: str, value: Any, faults: Faults) -> list[str] | None:
    """A condition as a query has it; None if it is invalid, with a fault."""
    condition = CONDITIONS.get(name)
    if condition is None:
        return [""]  # reported as unknown
    if condition.schema["type"] == "integer":
        if type(value) is int:
            return [str(value)]
        refuse(faults, name, "an integer from 0 to 100", shown(value))
        return None
    if isinstance(value, str):
        return [value]
    texts = isinstance(value, list) and value and all(isinstance(word, str) for word in value)
    if not condition.word or not texts:
        what = "a string, or an array of one or more strings" if condition.word else "a string"
        refuse(faults, name, what, _given(value))
        return None
    if condition.commas and any("," in word for word in value):
        faults.append((name, f"a string of the array {name} has a comma, which none of its values has"))
        return None
    return list(value)


def _given(value: Any) -> str:
    """What a condition is that has no texts, or an array of them where one text is wanted."""
    if not isinstance(value, list):
        return shown(value)
    if not value:
        return "an empty array"
    wrong = next((word for word in value if not isinstance(word, str)), value[0])
    return f"an array with {shown(wrong)}"


def _condition(condition: Field) -> dict[str, Any]:
    """A condition in the OpenAPI document: of several words, one string with commas between them, or an array."""
    word, most = condition.word, condition.most
    if not word:
        return {name: value for name, value in condition.schema.items() if name not in ("examples", "description")}
    several = f"(,({word})){{0,{most - 1}}}" if condition.commas else ""
    return {
        "oneOf": [
            {"type": "string", "pattern": f"^({word}){several}$"},
            {"type": "array", "items": condition.schema["items"], "minItems": 1, "maxItems": most},
        ]
    }


FILTER = Field(
    {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {name: _condition(condition) for name, condition in CONDITIONS.items()},
        "description": "The filters of `GET /api/tasks`; at least one. Lists are strings with commas, or arrays.",
    },
    _filter,
    required=True,
)


def _option(option: Option) -> Field:
    help = f"{option.help} Absent: {option.absent}." if option.absent else option.help
    if not option.whole:
        return number(option.low, option.high, help, option.valid, option.above)
    field = integer(int(option.low), int(option.high), help, option.valid)

    def needed(name: str, value: Any, faults: Faults) -> Any:
        if value is not None:
            return field.read(name, value, faults)
        faults.append((name, f"{name} is missing; it must be {option.valid}"))

    return field if option.absent else replace(field, read=needed, required=True)


def _fields(verb: str) -> Mapping[str, Field]:
    """The fields of the body of its call."""
    options = {name: _option(option) for name, option in OPTIONS.items() if option.belongs_to(verb)}
    if "stop_share" in options:
        options["stop_share"] = replace(options["stop_share"], default=DEFAULT_STOP_SHARE, beside="canary")
    return {"filter": FILTER, "dry_run": flag("Only count."), **options}


VERBS = [*Verb.values, *bulk_acts()]
FIELDS = {verb: _fields(verb) for verb in VERBS}
NewOperation = fields.object_with("NewOperation", "An act on all tasks that match a filter.", FIELDS[Verb.CANCEL])
NewRedriveOperation = fields.object_with(
    "NewRedriveOperation", "A redrive of all failed tasks that match.", FIELDS[Verb.REDRIVE]
)
NewPriorityOperation = fields.object_with(
    "NewPriorityOperation", "Another priority for all pending tasks that match.", FIELDS[Verb.PRIORITY]
)


def parse(body: Any, verb: str, types: frozenset[str] | None) -> tuple[Plan, bool]:
    """The plan of a request, and whether it is a dry run. Raises Invalid with every fault at once."""
    if not isinstance(body, dict):
        example = '{"filter": {"type": "resize", "failure_reason": "timeout"}}'
        raise Invalid([("", f"the body must be a JSON object such as {example}, not {kind(body)}")])
    faults: Faults = []
    check_unknown(body, FIELDS[verb], "field", faults)
    given = read_body(body, FIELDS[verb], faults)
    wrong = {name.split(".")[0] for name, _ in faults}
    good = {name: value for name, value in given.items() if name not in wrong}
    plan = Plan.of(verb, good.get("filter", TaskFilter()), good, types)
    faults += [(name, text) for name, text in plan.faults() if name not in wrong]
    if faults:
        raise Invalid(faults)
    return plan, given.get("dry_run", False)


# What is answered.


class OperationStarted(serializers.Serializer):
    """The stored operation."""

    operation_id = serializers.UUIDField()


class OperationPreview(serializers.Serializer):
    """What an operation would do."""

    matched = serializers.IntegerField(min_value=0, help_text="Tasks that it would change.")
    matched_exact = serializers.BooleanField(
        help_text=f"False: counting ended after {ROWS_READ:,} tasks, and there are at least so many."
    )
    by_type = schema.numbers()
    by_status = schema.numbers()
    by_reason = schema.numbers(help_text="By `failure_reason`, of failed tasks.")
    skipped = schema.numbers(help_text="By status: those named by `ids` that it would skip.")
    oldest = serializers.DateTimeField(allow_null=True, help_text="When the oldest of them was created.")
    warnings = serializers.ListField(child=serializers.CharField(), help_text="Why tasks would not run, in sentences.")


class OperationObject(serializers.Serializer):
    """An operation."""

    id = serializers.UUIDField()
    verb = serializers.ChoiceField(choices=VERBS)
    state = serializers.ChoiceField(
        choices=OperationState.choices, help_text="`stopped`: by itself, because too many redriven tasks failed again."
    )
    filter = schema.JSONObject(help_text="Its conditions. Without the scope tasks:read, one on errors is null.")
    matched = serializers.IntegerField(min_value=0, help_text="Tasks that matched at its start.")
    matched_exact = serializers.BooleanField(help_text="False: at least so many.")
    done = serializers.IntegerField(min_value=0)
    skipped = schema.numbers(
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
EXAMPLES = [
    schema.asked("timeouts", {"filter": {"type": "prime", "failure_reason": "timeout"}}),
    schema.asked("count first", {"filter": {"type": "prime", "failure_reason": "timeout"}, "dry_run": True}),
    schema.answered("started", {"operation_id": schema.UUID_EXAMPLE}, 202),
]


# The calls.

PAGE = pages.paged(pages.ID_CURSOR, 100, "How many, the newest first.", default=20)
#: Operations that are read for a page of a key with types, which may be short.
MAX_READ = 1000


def starts(
    name: str, verb: str, body: type[serializers.Serializer], sentences: str, examples: Sequence[OpenApiExample]
) -> type[API]:
    """The view of a call that starts an operation, or counts what it would do. `sentences`: what the call does."""

    class StartView(API):
        scopes = needs(POST=OPERATE)

        def post(self, request: Request) -> Response:
            plan, dry_run = parse(fields.body_of(request), verb, caller_of(request).types)
            if plan.wanted.given & OF_ERRORS:
                caller_of(request).require(Scope.TASKS_READ)  # the number of matches would tell what errors say
            if dry_run:
                found = preview(plan)
                return Response({**_counted(found), "warnings": warnings(verb, found.by_type)})
            return self.answer(request, str(start(plan, actor_of(request)).pk))

        def answer(self, request: Request, target: str) -> Response:
            headers = {"Location": f"/api/operations/{target}"}
            return Response({"operation_id": target}, status=202, headers=headers)

        post.__doc__ = sentences
        post = schema.call(name, "operations", STARTED, [LOCATION], body, examples)(post)

    return StartView


RedriveAllView = starts(
    "redrive_tasks", Verb.REDRIVE, NewRedriveOperation,
    "Queue all failed tasks again that match a filter. They get new budgets of retries, as by a single redrive.",
    [schema.asked("with a canary", {"filter": {"type": "prime"}, "canary": 5, "stop_share": 0.2}), *EXAMPLES],
)  # fmt: skip
CancelAllView = starts(
    "cancel_tasks", Verb.CANCEL, NewOperation, "Cancel all pending and running tasks that match a filter.",
    EXAMPLES[-1:],
)  # fmt: skip
DeleteAllView = starts(
    "delete_tasks", Verb.DELETE, NewOperation, "Delete all tasks that match a filter, in any status.", EXAMPLES[-1:]
)
PrioritizeAllView = starts(
    "prioritize_tasks", Verb.PRIORITY, NewPriorityOperation,
    "Give all pending tasks that match a filter another priority.",
    [schema.asked("first", {"filter": {"type": "prime"}, "priority": 90}), *EXAMPLES[-1:]],
)  # fmt: skip


class OperationsView(API):
    """`GET /api/operations`."""

    scopes = needs(GET=OPERATE)
    compresses = True

    @pages.listed("list_operations", "operations", OperationObject, "The newest operations.", PAGE)
    def get(self, request: Request) -> Response:
        """List operations, newest first."""
        limit = self.asked["limit"]
        types = caller_of(request).types
        newest = Operation.objects.order_by("-pk")
        if (cursor := self.asked.get("cursor")) is not None:
            newest = newest.filter(pk__lt=cursor)
        if types is not None:
            newest = newest.filter(types__isnull=False)
        most = limit + 1 if types is None else MAX_READ
        read = list(newest[:most])
        known = [operation for operation in read if types is None or _only(operation, types)]
        end = known[limit - 1] if len(known) > limit else read[-1] if len(read) == most else None
        headers = pages.next_page(request, None if end is None else end.pk)
        return Response([_object(request, operation) for operation in known[:limit]], headers=headers)


class OperationView(API):
    """`GET /api/operations/{id}`."""

    scopes = needs(GET=OPERATE)

    @schema.call("get_operation", "operations", ONE, [OPERATION_ID])
    def get(self, request: Request, operation_id: str) -> Response:
        """Read an operation: how far it is, or how it ended."""
        return Response(_object(request, _in_path(request, operation_id)))


class AbortView(API):
    """`POST /api/operations/{id}/abort`."""

    scopes = needs(POST=OPERATE)

    @schema.call("abort_operation", "operations", ABORTED, [OPERATION_ID])
    def post(self, request: Request, operation_id: str) -> Response:
        """Abort a running operation. What it has changed stays; no further batch begins."""
        operation = _in_path(request, operation_id)
        if not abort(operation.pk, actor_of(request)):
            state = _in_path(request, operation_id).state
            raise Conflict(f"Operation is already {state}; only a running one can be aborted")
        return self.answer(request, str(operation.pk))

    def answer(self, request: Request, target: str) -> Response:
        return Response(_object(request, _in_path(request, target)))


def _in_path(request: Request, text: str) -> Operation:
    identity = fields.task_id(text)
    operation = None if identity is None else Operation.objects.filter(pk=identity).first()
    types = caller_of(request).types
    if operation is None or (types is not None and not _only(operation, types)):
        raise NotFound("Operation not found")
    return operation


def _only(operation: Operation, types: frozenset[str]) -> bool:
    """Whether a key with these types may know it: another key started it that has no further types."""
    return operation.types is not None and set(operation.types) <= types


def _counted(found: Preview) -> dict[str, object]:
    return {
        "matched": found.matched,
        "matched_exact": found.exact,
        "by_type": dict(found.by_type.most_common()),
        "by_status": dict(found.by_status.most_common()),
        "by_reason": dict(found.by_reason.most_common()),
        "skipped": dict(found.unfit.most_common()),
        "oldest": found.oldest,
    }


_FIELDS = tuple(OperationObject().fields)
_NAMES = {name: asked for asked, name in OTHER_NAMES.items()}


def _object(request: Request, operation: Operation) -> dict[str, object]:
    errors = allowed(caller_of(request), SEE_PAYLOADS)
    wanted = {
        _NAMES.get(name, name): value if errors or name not in OF_ERRORS else None
        for name, value in operation.filter.items()
    }
    values = {name: getattr(operation, name) for name in _FIELDS}
    return {**values, "filter": wanted}


urlpatterns = [
    *both("api/tasks/redrive", RedriveAllView.as_view(), "redrive-all"),
    *both("api/tasks/cancel", CancelAllView.as_view(), "cancel-all"),
    *both("api/tasks/delete", DeleteAllView.as_view(), "delete-all"),
    *both("api/tasks/priority", PrioritizeAllView.as_view(), "prioritize-all"),
    *(
        pattern
        for act in bulk_acts().values()
        for pattern in both(
            act.address, starts(act.name, act.verb, NewOperation, act.text, EXAMPLES[-1:]).as_view(), act.name
        )
    ),
    *both("api/operations", OperationsView.as_view(), "operations"),
    *both("api/operations/<str:operation_id>", OperationView.as_view(), "operation"),
    *both("api/operations/<str:operation_id>/abort", AbortView.as_view(), "abort"),
]
