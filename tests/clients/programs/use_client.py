"""Uses the client that openapi-python-client generated (`generated`), against the daemon at argv[1]."""

from __future__ import annotations

import sys
import time
from uuid import UUID

from generated import AuthenticatedClient
from generated.api.handlers import get_handler, list_handlers
from generated.api.system import api_metrics, health, metrics
from generated.api.tasks import delete_task, get_task, list_attempts, list_tasks, queue_task, queue_tasks
from generated.models import (
    AttemptObject,
    ErrorObject,
    FailureReasonEnum,
    HandlerObject,
    Health,
    NewTaskRequest,
    NewTaskRequestDataType0,
    NewTasksRequest,
    Queued,
    QueuedTogether,
    Summary,
    TaskObject,
    TaskPart,
    TaskStatus,
)

# The token is the API key. A daemon on loopback without keys requires none.
api = AuthenticatedClient(base_url=sys.argv[1], token="none")


def ended(task_id: UUID) -> TaskObject:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        task = get_task.sync(task_id, client=api)
        assert isinstance(task, TaskObject), task
        if task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
            return task
        time.sleep(0.05)
    raise SystemExit(f"task {task_id} has not ended")


data = NewTaskRequestDataType0()
data["hello"] = "world"
queued = queue_task.sync(client=api, body=NewTaskRequest(type_="echo", data=data))
assert isinstance(queued, Queued), queued
completed = ended(queued.task_id)
assert completed.status is TaskStatus.COMPLETED and completed.result == {"hello": "world"}, completed
assert completed.failure_reason is None and completed.last_error is None and completed.due_at is None, completed

data = NewTaskRequestDataType0()
data["limit"] = "many"
batch = NewTasksRequest(tasks=[NewTaskRequest(type_="prime", data=data, priority=100)])
together = queue_tasks.sync(client=api, body=batch)
assert isinstance(together, QueuedTogether), together
failed = ended(together.task_ids[0])
assert failed.failure_reason is FailureReasonEnum.HANDLER_ERROR and failed.result is None, failed

attempts = list_attempts.sync(failed.id, client=api)
assert isinstance(attempts, list) and isinstance(attempts[0], AttemptObject), attempts
assert attempts[0].error == failed.last_error and attempts[0].exit_code is None, attempts

listed = list_tasks.sync(client=api, limit=5)
assert isinstance(listed, list) and {each.id for each in listed} >= {completed.id, failed.id}, listed
assert all(isinstance(each, TaskObject) for each in listed), listed
ids = f"{completed.id},{failed.id}"
parts = list_tasks.sync(client=api, ids=ids, status="pending,failed", fields="id,failure_reason", error="limit")
assert isinstance(parts, list) and [each.id for each in parts] == [failed.id] and isinstance(parts[0], TaskPart), parts
handlers = list_handlers.sync(client=api)
assert isinstance(handlers, list) and "echo" in {each.type_ for each in handlers}, handlers
handler = get_handler.sync("prime", client=api)
assert isinstance(handler, HandlerObject) and handler.slots.all_ >= handler.slots.busy, handler
assert delete_task.sync_detailed(completed.id, client=api).status_code == 204
assert isinstance(get_task.sync(completed.id, client=api), ErrorObject)
wrong = queue_task.sync(client=api, body=NewTaskRequest(type_="unknown"))
assert isinstance(wrong, ErrorObject) and "unknown" in wrong.error, wrong
assert isinstance(health.sync(client=api), Health)
assert isinstance(api_metrics.sync(client=api), Summary)
assert "tasks_received_total" in str(metrics.sync(client=api))
