"""`POST /queue/batch`: many tasks in one request, all or none."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import admission, inputs, schema
from tasks_app.api.backlog import backlog
from tasks_app.api.errors import Invalid
from tasks_app.api.parsers import body_of
from tasks_app.api.strict_json import MAX_DEPTH
from tasks_app.api.tasks import API
from tasks_app.lifecycle import NewTask, intake
from tasks_app.lifecycle.submit import encode

#: Tasks in one request.
MOST = 1000
#: Levels that the batch puts around a task.
AROUND = 2
#: Wrong tasks that are told what would be right. For all of 1,000 it takes seconds.
IN_FULL = 20


class BatchView(API):
    """`POST /queue/batch`."""

    @extend_schema(
        operation_id="queue_tasks",
        tags=["tasks"],
        request=schema.NewTasks,
        responses=schema.QUEUED_TOGETHER,
        examples=schema.BATCH_EXAMPLES,
    )
    def post(self, request: Request) -> Response:
        """Queue up to 1,000 tasks, all or none. The answer means that they are stored, and safe from a power cut."""
        env = conf.environment()
        body = body_of(request, MAX_DEPTH + AROUND)
        # Only a body that is larger than one task may be can have such a task in it.
        large = len(request._request.body) > env.max_body
        new = new_tasks(body, conf.handlers(), env.max_body if large else None)
        admission.admit(env, len(new))
        ids = intake.submit(new)
        backlog.accepted(len(new))
        return Response({"task_ids": [str(each) for each in ids]})


def new_tasks(body: Any, handlers: Collection[str], limit: int | None = None) -> list[NewTask]:
    """The tasks that a body asks for, data of at most `limit` bytes in each. Raises Invalid with every fault at once,
    each under its place: `tasks[3].priority`."""
    tasks = body.get("tasks") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(tasks, list) or len(body) > 1:
        raise Invalid(
            [("", 'the body must be a JSON object {"tasks": [...]} and nothing else, with an array of tasks')]
        )
    if not 1 <= len(tasks) <= MOST:
        raise Invalid([("tasks", f"tasks must have 1 to {MOST:,} tasks, not {len(tasks):,}")])
    known = frozenset(handlers)
    new: list[NewTask] = []
    faults: inputs.Faults = []
    wrong = 0
    for index, each in enumerate(tasks):
        own: inputs.Faults = []
        task = inputs.task_of(each, known, own, "a task", hints=wrong < IN_FULL)
        if task is not None and limit is not None and len(encode(task.task_data).encode()) > limit:
            own.append(("data", f"data is larger than {limit:,} bytes; put large data elsewhere and send its address"))
        if own:
            wrong += 1
            faults += [(f"tasks[{index}]" + (f".{field}" if field else ""), text) for field, text in own]
        elif task is not None:
            new.append(task)
    if faults:
        place, text = faults[0]
        others = "" if len(faults) == 1 else "; the others are in details"
        raise Invalid(faults, f"{wrong:,} of {len(tasks):,} tasks are wrong, none was stored: {place}: {text}{others}")
    return new
