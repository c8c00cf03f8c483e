"""The five calls on tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app import conf
from tasks_app.api import inputs, schema
from tasks_app.api.errors import NotFound
from tasks_app.api.renderers import AlwaysJSON
from tasks_app.lifecycle import delete, redrive, submit
from tasks_app.models import Task

#: The task object's fields, as columns.
FIELDS = (
    "id", "task_type", "task_data", "status", "priority", "attempts", "result", "last_error", "failure_reason",
    "created_at", "started_at", "completed_at", "due_at",
)  # fmt: skip


def rfc3339(moment: datetime | None) -> str | None:
    """A moment in UTC, as the contract writes it."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def task_object(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the outside sees it."""
    for name in ("created_at", "started_at", "completed_at", "due_at"):
        row[name] = rfc3339(row[name])
    row["id"] = str(row["id"])
    return row


def read(text: str) -> dict[str, Any]:
    """The task object of an id. Raises NotFound."""
    identity = inputs.task_id(text)
    row = Task.objects.filter(pk=identity).values(*FIELDS).first() if identity else None
    if row is None:
        raise NotFound
    return task_object(row)


class API(APIView):
    """What all calls have in common: JSON in, JSON out, whatever the headers say."""

    content_negotiation_class = AlwaysJSON


class QueueView(API):
    """`POST /queue`."""

    @extend_schema(operation_id="queue_task", tags=["tasks"], request=schema.NewTask, responses=schema.QUEUED, examples=schema.QUEUE_EXAMPLES)
    def post(self, request: Request) -> Response:
        """Queue a task. The answer means that it is stored, and safe from a power cut."""
        new = inputs.new_task(request.data, conf.handlers())
        identity = submit(new.task_type, new.task_data, new.priority)
        return Response({"task_id": str(identity)}, headers={"Location": f"/api/tasks/{identity}"})


class TasksView(API):
    """`GET /api/tasks`."""

    @extend_schema(
        operation_id="list_tasks",
        tags=["tasks"],
        parameters=[
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20}, description="How many."),
            OpenApiParameter("cursor", {"type": "string", "format": "uuid"}, description="From the Link header."),
            OpenApiParameter("status", str, enum=["pending", "processing", "completed", "failed"], description="Only these."),
            OpenApiParameter("type", str, description="Only tasks of this type."),
        ],
        responses=schema.LISTED,
    )
    def get(self, request: Request) -> Response:
        """List tasks, newest first; the next page is in the Link header."""
        limit, filters, cursor = inputs.listing(request.query_params, conf.handlers())
        # The ids are UUIDv7: their order is the order of creation, and the primary key's index has it.
        rows = Task.objects.filter(**filters).order_by("-pk")
        if cursor:
            rows = rows.filter(pk__lt=cursor)
        found = list(rows.values(*FIELDS)[: limit + 1])
        headers = {}
        if len(found) > limit:
            found = found[:limit]
            query = {**request.query_params.dict(), "cursor": str(found[-1]["id"])}
            headers["Link"] = f'<{request.build_absolute_uri(request.path)}?{urlencode(query)}>; rel="next"'
        return Response([task_object(row) for row in found], headers=headers)


class TaskView(API):
    """`GET` and `DELETE /api/tasks/{id}`."""

    @extend_schema(operation_id="get_task", tags=["tasks"], parameters=[schema.TASK_ID], responses=schema.ONE)
    def get(self, request: Request, task_id: str) -> Response:
        """Read a task: its status and, when it has ended, its result or why it failed."""
        return Response(read(task_id))

    @extend_schema(operation_id="delete_task", tags=["tasks"], parameters=[schema.TASK_ID], responses=schema.DELETED)
    def delete(self, request: Request, task_id: str) -> Response:
        """Delete a task in any status. A running one's container is stopped and its result dropped."""
        identity = inputs.task_id(task_id)
        if identity is None or not delete(identity):
            raise NotFound
        return Response(status=204)


class RedriveView(API):
    """`POST /api/tasks/{id}/redrive`."""

    @extend_schema(operation_id="redrive_task", tags=["tasks"], parameters=[schema.TASK_ID], request=None, responses=schema.REDRIVEN)
    def post(self, request: Request, task_id: str) -> Response:
        """Give a failed task another life, with a new budget of retries."""
        identity = inputs.task_id(task_id)
        if identity is None or not redrive(identity):
            raise NotFound("Task not found, or it is not failed")
        return Response(read(task_id))
