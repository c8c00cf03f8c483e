"""The calls that change one task: cancel, redrive (also with other data or another priority), prioritize."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import schema, view
from tasks_app.api.errors import Conflict, NotFound, TooLarge
from tasks_app.api.fields import body_of, object_with, optional_body, read_object
from tasks_app.api.new_tasks import TASK_FIELDS
from tasks_app.api.tasks import changed
from tasks_app.audit import TaskGone, TaskUnfit, act_on_task
from tasks_app.queue.redrive import LivingTwin
from tasks_app.queue.submission import too_large
from tasks_app.rights import CHANGE_TASKS, needs
from tasks_app.runner.wire import encode

_DATA, _PRIORITY = (replace(TASK_FIELDS[name], default=None) for name in ("data", "priority"))
#: What a task is to have from a redrive on.
REDRIVE_FIELDS = {
    name: replace(field, schema={**field.schema, "description": f"{what}; absent or null: as it is."})
    for name, field, what in (
        ("data", _DATA, "Instead of its data"),
        ("priority", _PRIORITY, "Instead of its priority"),
    )
}
PRIORITY_FIELDS = {
    "priority": replace(_PRIORITY, schema={**_PRIORITY.schema, "description": "The new one."}, required=True)
}
EXAMPLE = '{"data": {"limit": 1000}}'
Redrive = object_with("Redrive", "What a task is to have from now on.", REDRIVE_FIELDS)
Priority = object_with("Priority", "Another priority.", PRIORITY_FIELDS)


def read_redrive(body: Any) -> dict[str, Any]:
    """What a redrive is to change: `data` and `priority`. Raises Invalid with every fault at once, or TooLarge."""
    asked = read_object(body, REDRIVE_FIELDS, EXAMPLE)
    if "data" in asked and (sentence := too_large(encode(asked["data"]), conf.environment().max_body)):
        raise TooLarge([("data", sentence)])
    return asked


def read_priority(body: Any) -> int:
    """Another priority. Raises Invalid with every fault at once."""
    return int(read_object(body, PRIORITY_FIELDS, '{"priority": 90}')["priority"])


class TaskAct(view.API):
    """The base of these calls."""

    scopes = needs(POST=CHANGE_TASKS)

    def act(self, request: Request, verb: str, identity: UUID, **changes: Any) -> Response:
        """Do it, and answer. Raises NotFound or Conflict."""
        try:
            with act_on_task(view.actor_of(request), verb, identity, **changes):
                # No node can claim the task before the answer is read: it says `pending` after a redrive.
                return self.answer(request, str(identity))
        except (TaskUnfit, LivingTwin) as refusal:
            missing = isinstance(refusal, TaskGone) or (verb == "redrive" and isinstance(refusal, TaskUnfit))
            raise (NotFound if missing else Conflict)(str(refusal)) from None

    def answer(self, request: Request, target: str) -> Response:
        """The task."""
        return changed(request, UUID(target))


class CancelView(TaskAct):
    """`POST /api/tasks/{id}/cancel`."""

    @schema.call("cancel_task", "tasks", schema.CANCELLED, [schema.TASK_ID])
    def post(self, request: Request, task_id: str) -> Response:
        """Cancel a task that has not ended. If it runs, its handler gets SIGTERM, and its result is dropped."""
        return self.act(request, "cancel", view.task_in_path(request, task_id))


class RedriveView(TaskAct):
    """`POST /api/tasks/{id}/redrive`."""

    @schema.call(
        "redrive_task",
        "tasks",
        schema.REDRIVEN,
        [schema.TASK_ID],
        request=Redrive,
        examples=[
            schema.asked("as it is", {}),
            schema.asked("with other data", {"data": {"limit": 1000}}),
            schema.asked("and before others", {"data": {"limit": 1000}, "priority": 90}),
        ],
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Queue a failed task again, with a new budget of retries. It may get other data and another priority."""
        identity = view.task_in_path(request, task_id)
        return self.act(request, "redrive", identity, **read_redrive(optional_body(request, EXAMPLE)))


class PriorityView(TaskAct):
    """`POST /api/tasks/{id}/priority`."""

    @schema.call(
        "prioritize_task",
        "tasks",
        schema.PRIORITIZED,
        [schema.TASK_ID],
        request=Priority,
        examples=[schema.asked("before others", {"priority": 90})],
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Give a pending task another priority. With DAEMON_TASK_SELECTION=priority it goes to the back of its new
        level."""
        identity = view.task_in_path(request, task_id)
        return self.act(request, "priority", identity, priority=read_priority(body_of(request)))
