"""The calls on tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks_app import conf
from tasks_app.api import (
    admission,
    idempotency,
    inputs,
    list_parameters,
    list_schema,
    option_schema,
    pages,
    schema,
    waiting,
)
from tasks_app.api.errors import Conflict, NotFound, QueueFull
from tasks_app.api.parsers import body_of
from tasks_app.api.queued import existing_of, queued_body, queued_headers
from tasks_app.api.renderers import AlwaysJSON
from tasks_app.api.response_budget import response_budget
from tasks_app.api.task_search import search
from tasks_app.lifecycle import LivingTwin, Submission, cancel, delete, intake, redrive
from tasks_app.models import Task
from tasks_app.store.transactions import writing


def read(text: str, headers: dict[str, str] | None = None) -> Response:
    """The task object of an id. Raises NotFound."""
    identity = inputs.task_id(text)
    page = pages.Page(Task.objects.filter(pk=identity), 1) if identity else None
    if page is None or not page.ids:
        raise NotFound
    return _answer(page, _single, headers)


def _single(objects: list[bytes]) -> bytes:
    if not objects:  # deleted since its size was read
        raise NotFound
    return objects[0]


def _answer(
    page: pages.Page, render: Callable[[list[bytes]], bytes], headers: dict[str, str] | None = None
) -> Response:
    """The response with a page's task objects. They are read only when the response budget has room for them."""
    reservation = response_budget.reserve(page.bytes)
    try:
        objects = pages.task_objects(page)
        return reservation.until_closed(Response(render(objects), headers=headers))
    except BaseException:
        reservation.release()
        raise


class API(APIView):
    """The base of all calls: JSON in, JSON out, whatever the headers say."""

    content_negotiation_class = AlwaysJSON

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """204. The Allow header, which every answer has, lists the methods."""
        return Response(status=204)


class PublicAPI(API):
    """The base of calls that need no key."""

    authentication_classes = ()


class QueueView(API):
    """`POST /queue`."""

    @extend_schema(
        operation_id="queue_task",
        tags=["tasks"],
        request=schema.NewTask,
        parameters=[*option_schema.IDEMPOTENCY, schema.LOCATION, *schema.WAITING],
        responses=schema.QUEUED,
        examples=schema.QUEUE_EXAMPLES,
    )
    def post(self, request: Request) -> Response:
        """Queue a task. The answer means that it is stored and survives a power cut."""
        seconds, hold = waiting.wanted(request), waiting.hold_of(request)
        body = body_of(request)
        key = idempotency.request_key(request, body)
        new = inputs.new_task(body, conf.handlers())
        if seconds and hold is not None:
            hold.reserve()  # before the task is stored: a request without a place stores nothing
        try:
            with admission.admitted(conf.environment()) as tasks:
                submitted = intake.submit(Submission([new], key))
                tasks.stored = submitted.stored
        except QueueFull as full:
            submitted = idempotency.earlier_or(full, key)
        identity, existing, headers = submitted.ids[0], existing_of(submitted), queued_headers(submitted)
        if seconds is not None and hold is not None:
            hold.until_final(identity, seconds, queued=True, existing=existing)
            headers |= waiting.applied(seconds)
        return Response(queued_body(identity, existing), headers=headers)


class TasksView(API):
    """`GET /api/tasks`."""

    @extend_schema(
        operation_id="list_tasks",
        tags=["tasks"],
        parameters=list_schema.PARAMETERS,
        responses=list_schema.LISTED,
    )
    def get(self, request: Request) -> Response:
        """List tasks, newest first. The Link header has the address of the next page.

        A filter other than `status` and `type` reads a limited number of rows for a page: a page may be short, even
        empty, and still have a next one."""
        asked = list_parameters.parse(request.query_params, conf.handlers())
        found = search(asked.wanted, asked.page_cursor, asked.oldest, asked.limit)
        page = pages.Page(found.rows, asked.limit, asked.fields, asked.oldest)
        headers = {}
        if (cursor := page.ids[-1] if page.more else found.end) is not None:
            query = {**dict(request.query_params.lists()), "cursor": [str(cursor)]}
            address = f"{request.build_absolute_uri(request.path)}?{urlencode(query, doseq=True)}"
            headers["Link"] = f'<{address}>; rel="next"'
            headers["Next-Cursor"] = str(cursor)
        return _answer(page, lambda objects: b"[%b]" % b",".join(objects), headers)


class TaskView(API):
    """`GET` and `DELETE /api/tasks/{id}`."""

    @extend_schema(
        operation_id="get_task", tags=["tasks"], parameters=[schema.TASK_ID, *schema.WAITING], responses=schema.ONE
    )
    def get(self, request: Request, task_id: str) -> Response:
        """Read a task: its status and, once it is final, its result or why it failed."""
        seconds, hold = waiting.wanted(request), waiting.hold_of(request)
        if seconds is None or hold is None:
            return read(task_id)
        headers, identity = waiting.applied(seconds), inputs.task_id(task_id)
        if not seconds or identity is None or waiting.is_final(identity):
            return read(task_id, headers)
        hold.reserve()
        hold.until_final(identity, seconds, queued=False)
        return Response(headers=headers)

    @extend_schema(operation_id="delete_task", tags=["tasks"], parameters=[schema.TASK_ID], responses=schema.DELETED)
    def delete(self, request: Request, task_id: str) -> Response:
        """Delete a task in any status. If it runs, its container is stopped and its result dropped."""
        identity = inputs.task_id(task_id)
        if identity is None or not delete(identity):
            raise NotFound
        return Response(status=204)


class CancelView(API):
    """`POST /api/tasks/{id}/cancel`."""

    @extend_schema(
        operation_id="cancel_task",
        tags=["tasks"],
        parameters=[schema.TASK_ID],
        request=None,
        responses=schema.CANCELLED,
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Cancel a task that has not ended. If it runs, its handler gets SIGTERM, and its result is dropped."""
        identity = inputs.task_id(task_id)
        with writing():
            # Locked: no other request can redrive the task before the answer is made, so that says what was found.
            task = Task.objects.select_for_update().filter(pk=identity).only("status").first() if identity else None
            if task is None:
                raise NotFound
            if not cancel(task.pk):
                raise Conflict(f"Task is already {task.status}; only a pending or processing task can be cancelled")
            return read(task_id)


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
        """Queue a failed task again, with a new budget of retries."""
        identity = inputs.task_id(task_id)
        with writing():  # no node can claim the task before the answer is read, so it says `pending`
            try:
                if identity is None or not redrive(identity):
                    raise NotFound("Task not found, or it is not failed")
            except LivingTwin as refused:
                raise Conflict(f"Task {refused.task} has the same type and unique_key and has not ended") from None
            return read(task_id)
