"""The calls on all tasks that match, and on the operations that they start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, ClassVar, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import operation_schema as shapes
from tasks_app.api.callers import actor_of, caller_of
from tasks_app.api.errors import Conflict, Invalid, NotFound
from tasks_app.api.inputs import Faults, check_unknown, task_id
from tasks_app.api.json_values import literal
from tasks_app.api.moments import rfc3339
from tasks_app.api.operation_parameters import parse
from tasks_app.api.parsers import body_of
from tasks_app.api.view import API
from tasks_app.keys.grant import Scope
from tasks_app.models import Operation, Verb
from tasks_app.operations import abort, preview, start
from tasks_app.operations.report import counted, report
from tasks_app.operations.warnings import warnings

MISSING = "Operation not found"
DEFAULT_LIMIT, MAX_LIMIT = 20, 100
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
        request=shapes.NewOperation,
        parameters=[shapes.LOCATION],
        responses=shapes.STARTED,
        examples=list(examples),
    )


class RedriveAllView(_StartView):
    """`POST /api/tasks/redrive`."""

    verb = Verb.REDRIVE

    @_starts("redrive_tasks", shapes.EXAMPLES)
    def post(self, request: Request) -> Response:
        """Queue all failed tasks again that match a filter. They get new budgets of retries, as by a single redrive."""
        return self.start(request)


class CancelAllView(_StartView):
    """`POST /api/tasks/cancel`."""

    verb = Verb.CANCEL

    @_starts("cancel_tasks", shapes.EXAMPLES[-1:])
    def post(self, request: Request) -> Response:
        """Cancel all pending and running tasks that match a filter."""
        return self.start(request)


class DeleteAllView(_StartView):
    """`POST /api/tasks/delete`."""

    verb = Verb.DELETE

    @_starts("delete_tasks", shapes.EXAMPLES[-1:])
    def post(self, request: Request) -> Response:
        """Delete all tasks that match a filter, in any status."""
        return self.start(request)


class OperationsView(API):
    """`GET /api/operations`."""

    scopes: ClassVar = {"GET": Scope.OPERATE}

    @extend_schema(
        operation_id="list_operations",
        tags=["operations"],
        parameters=[shapes.LIMIT],
        responses={200: OpenApiResponse(shapes.OperationObject(many=True), "The newest operations.")},
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

    @extend_schema(
        operation_id="get_operation", tags=["operations"], parameters=[shapes.OPERATION_ID], responses=shapes.ONE
    )
    def get(self, request: Request, operation_id: str) -> Response:
        """Read an operation: how far it is, or how it ended."""
        return Response(_object(_in_path(request, operation_id)))


class AbortView(API):
    """`POST /api/operations/{id}/abort`."""

    scopes: ClassVar = {"POST": Scope.OPERATE}

    @extend_schema(
        operation_id="abort_operation",
        tags=["operations"],
        parameters=[shapes.OPERATION_ID],
        request=None,
        responses=shapes.ABORTED,
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
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if len(request.query_params.getlist("limit")) > 1:
        faults.append(("limit", "limit is given twice"))
    elif not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        faults.append(("limit", f"limit must be an integer from 1 to {MAX_LIMIT}, not {literal(text)}"))
    if faults:
        raise Invalid(faults)
    return int(text)


def _object(operation: Operation) -> dict[str, object]:
    values = report(operation)
    moments = {name: rfc3339(values[name]) for name in ("created_at", "ended_at")}
    return {**values, "id": str(operation.pk), **moments}
