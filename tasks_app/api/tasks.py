"""The five calls on tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app import conf
from tasks_app.api import admission, inputs, schema
from tasks_app.api.backlog import backlog
from tasks_app.api.errors import NotFound
from tasks_app.api.parsers import body_of
from tasks_app.api.renderers import AlwaysJSON
from tasks_app.lifecycle import delete, intake, redrive
from tasks_app.models import Task
from tasks_app.write_lock import writing

#: The task object's fields, as columns.
FIELDS = (
    "id", "task_type", "task_data", "status", "priority", "attempts", "result", "last_error", "failure_reason",
    "created_at", "started_at", "completed_at", "due_at",
)  # fmt: skip

#: Of data and results in one page of a list, about: a longer page is cut short, and its Link leads on.
PAGE_BYTES = 16 * 1024 * 1024


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


def page(rows: QuerySet[Task], limit: int) -> tuple[list[dict[str, Any]], bool]:
    """The first `limit` task objects, or fewer where they are large, and whether there are more."""
    found: list[dict[str, Any]] = []
    left, step = PAGE_BYTES, 21
    while True:
        step = min(step, limit + 1 - len(found))
        part = list((rows.filter(pk__lt=found[-1]["id"]) if found else rows).values(*FIELDS)[:step])
        found += part
        left -= sum(len(str(row["task_data"])) + len(str(row["result"])) for row in part)
        if len(part) < step:
            return [task_object(row) for row in found], False
        if len(found) > limit or left <= 0:
            kept = found[:limit]
            return [task_object(row) for row in kept], True
        # As many more as fit, going by those that were seen.
        step = max(1, left * len(found) // max(PAGE_BYTES - left, 1))


class API(APIView):
    """What all calls have in common: JSON in, JSON out, whatever the headers say."""

    content_negotiation_class = AlwaysJSON

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """Which methods there are: in the Allow header, which every answer has."""
        return Response(status=204)


class QueueView(API):
    """`POST /queue`."""

    @extend_schema(
        operation_id="queue_task",
        tags=["tasks"],
        request=schema.NewTask,
        parameters=[schema.LOCATION],
        responses=schema.QUEUED,
        examples=schema.QUEUE_EXAMPLES,
    )
    def post(self, request: Request) -> Response:
        """Queue a task. The answer means that it is stored, and safe from a power cut."""
        new = inputs.new_task(body_of(request), conf.handlers())
        admission.admit(conf.environment())
        (identity,) = intake.submit([new])
        backlog.accepted()
        return Response({"task_id": str(identity)}, headers={"Location": f"/api/tasks/{identity}"})


class TasksView(API):
    """`GET /api/tasks`."""

    @extend_schema(
        operation_id="list_tasks",
        tags=["tasks"],
        parameters=schema.LISTING,
        responses=schema.LISTED,
    )
    def get(self, request: Request) -> Response:
        """List tasks, newest first; the next page is in the Link header."""
        limit, filters, cursor = inputs.listing(request.query_params, conf.handlers())
        # The ids are UUIDv7: their order is the order of creation, and the primary key's index has it.
        rows = Task.objects.filter(**filters).order_by("-pk")
        if cursor:
            rows = rows.filter(pk__lt=cursor)
        found, more = page(rows, limit)
        headers = {}
        if more:
            query = {**request.query_params.dict(), "cursor": str(found[-1]["id"])}
            headers["Link"] = f'<{request.build_absolute_uri(request.path)}?{urlencode(query)}>; rel="next"'
        return Response(found, headers=headers)


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

    @extend_schema(
        operation_id="redrive_task",
        tags=["tasks"],
        parameters=[schema.TASK_ID],
        request=None,
        responses=schema.REDRIVEN,
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Give a failed task another life, with a new budget of retries."""
        identity = inputs.task_id(task_id)
        with writing():  # the answer is read before a node can have begun the task: it says `pending`
            if identity is None or not redrive(identity):
                raise NotFound("Task not found, or it is not failed")
            answer = read(task_id)
        return Response(answer)
