"""`POST /queue/batch`: many tasks in one request, all or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import admission, idempotency, inputs, option_schema, schema
from tasks_app.api.callers import WRITING, caller_of, check_types
from tasks_app.api.errors import Invalid, QueueFull, TooLarge
from tasks_app.api.json_values import body_of
from tasks_app.api.rate_headers import RATE, RateHeaders
from tasks_app.api.view import API
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.queue.new_task import NewTask, too_large
from tasks_app.queue.strict_json import MAX_DEPTH
from tasks_app.queue.submit import Submission, group_commit

MAX_TASKS = 1000
#: JSON levels of a batch around each of its tasks.
OUTER_LEVELS = 2
#: Only so many wrong tasks get hints: to find those of 1,000 tasks takes seconds.
MAX_HINTED_TASKS = 20


class BatchView(RateHeaders, API):
    """`POST /queue/batch`."""

    scopes = WRITING

    @extend_schema(
        operation_id="queue_tasks",
        tags=["tasks"],
        request=schema.NewTasks,
        parameters=[*option_schema.IDEMPOTENCY, *RATE],
        responses=schema.QUEUED_TOGETHER,
        examples=schema.BATCH_EXAMPLES,
    )
    def post(self, request: Request) -> Response:
        """Queue up to 1,000 tasks, all or none. The answer means that they are stored and survive a power cut."""
        env, caller = conf.environment(), caller_of(request)
        body = body_of(request, MAX_DEPTH + OUTER_LEVELS)
        key = idempotency.request_key(request, body)
        new = new_tasks(body, conf.handlers(), env.max_body)
        check_types(caller, new)
        try:
            with admission.admitted(env, len(new), caller.rate) as tasks:
                submitted = group_commit.submit(Submission(new, key))
                tasks.stored = submitted.stored
        except QueueFull as full:
            submitted = idempotency.earlier_or(full, key)
        answer: dict[str, Any] = {"task_ids": [str(each) for each in submitted.ids]}
        if submitted.existing is not None:
            answer["existing"] = submitted.existing
        return Response(answer, headers=idempotency.replayed(submitted))


def new_tasks(body: Any, handlers: Mapping[str, Handler], limit: int) -> list[NewTask]:
    """The tasks of a request's body, each with at most `limit` bytes of data once it is stored.

    Raises Invalid with every fault at once, each with its path: `tasks[3].priority`; TooLarge if all are of size.
    """
    tasks = body.get("tasks") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(tasks, list) or len(body) > 1:
        raise Invalid(
            [("", 'the body must be a JSON object with an array of tasks and nothing else: {"tasks": [...]}')]
        )
    if not 1 <= len(tasks) <= MAX_TASKS:
        raise Invalid([("tasks", f"tasks must have 1 to {MAX_TASKS:,} tasks, not {len(tasks):,}")])
    known = dict(handlers)
    new: list[NewTask] = []
    faults: inputs.Faults = []
    wrong = large = 0
    for index, each in enumerate(tasks):
        found: inputs.Faults = []
        task = inputs.task_of(each, known, found, "a task", hints=wrong < MAX_HINTED_TASKS)
        if task is not None and (sentence := too_large(task.text, limit)) is not None:
            large += 1
            found.append(("data", sentence))
        if found:
            wrong += 1
            faults += [(f"tasks[{index}]" + (f".{field}" if field else ""), text) for field, text in found]
        elif task is not None:
            new.append(task)
    if faults:
        path, text = faults[0]
        others = "" if len(faults) == 1 else "; details has all faults"
        kind = TooLarge if large == wrong else Invalid
        raise kind(faults, f"{wrong:,} of {len(tasks):,} tasks are wrong, none was stored: {path}: {text}{others}")
    return new
