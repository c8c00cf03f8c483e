"""Uses the client that openapi-python-client generated (`generated`), against the daemon at argv[1]."""

from __future__ import annotations

import datetime
import sys
from uuid import UUID, uuid4

import httpx
from generated import AuthenticatedClient
from generated.api.handlers import get_handler, list_handlers
from generated.api.system import api_metrics, health, metrics
from generated.api.tasks import cancel_task, delete_task, get_task, list_attempts, list_tasks, queue_task, queue_tasks
from generated.models import (
    AttemptObject,
    ErrorObject,
    FailureReasonEnum,
    HandlerObject,
    Health,
    ListTasksFieldsItem,
    ListTasksStatusItem,
    NewTaskRequest,
    NewTaskRequestDataType0,
    NewTaskRequestMetadataType0,
    NewTasksRequest,
    Queued,
    QueuedTogether,
    Summary,
    TaskObject,
    TaskObjectMetadata,
    TaskPart,
    TaskStatus,
)

# The token is the API key. A daemon on loopback without keys requires none.
api = AuthenticatedClient(base_url=sys.argv[1], token="none", timeout=httpx.Timeout(90))


def ended(task_id: UUID) -> TaskObject:
    task = get_task.sync(task_id, client=api, wait=60)
    assert isinstance(task, TaskObject), task
    assert task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED), task
    return task


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

# What a task may ask for, a request that is repeated, a wait that comes with the POST.
run = str(uuid4())
metadata = NewTaskRequestMetadataType0()
metadata["order"] = 4711
new = NewTaskRequest(
    type_="echo",
    delay=0.2,
    expires_in=600,
    timeout=20,
    max_retries=1,
    tags=[run, "a/b"],
    metadata=metadata,
    unique_key=run,
)
first = queue_task.sync(client=api, body=new, idempotency_key=run, wait=60)
assert isinstance(first, Queued) and isinstance(first.task, TaskObject) and first.existing is False, first
assert first.task.status is TaskStatus.COMPLETED and first.task.tags == [run, "a/b"], first
assert isinstance(first.task.metadata, TaskObjectMetadata) and first.task.metadata["order"] == 4711, first
assert (first.task.timeout, first.task.max_retries, first.task.unique_key) == (20, 1, run), first
again = queue_task.sync_detailed(client=api, body=new, idempotency_key=run)
assert isinstance(again.parsed, Queued) and again.parsed.task_id == first.task_id, again
assert again.headers["Idempotent-Replayed"] == "true", again
reused = queue_task.sync(client=api, body=NewTaskRequest(type_="echo"), idempotency_key=run)
assert isinstance(reused, ErrorObject) and str(first.task_id) in reused.error, reused

# Later, once at a time, and cancelled.
later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
new = NewTaskRequest(
    type_="echo", run_at=later, expires_at=later + datetime.timedelta(hours=1), unique_key=run, tags=[run, "a/b"]
)
waits = queue_task.sync(client=api, body=new)
assert isinstance(waits, Queued) and waits.existing is False, waits
twin = queue_tasks.sync(client=api, body=NewTasksRequest(tasks=[new]))
assert isinstance(twin, QueuedTogether) and (twin.task_ids, twin.existing) == ([waits.task_id], [True]), twin
cancelled = cancel_task.sync(waits.task_id, client=api)
assert isinstance(cancelled, TaskObject) and cancelled.failure_reason is FailureReasonEnum.CANCELLED, cancelled
assert isinstance(cancel_task.sync(waits.task_id, client=api), ErrorObject)

# Page after page.
page = list_tasks.sync_detailed(client=api, tag=[run, "a/b"], limit=1)
rest = list_tasks.sync_detailed(client=api, tag=[run, "a/b"], limit=1, cursor=UUID(page.headers["Next-Cursor"]))
pages = [page.parsed, rest.parsed]
assert all(isinstance(each, list) for each in pages), pages
assert [task.id for each in pages if isinstance(each, list) for task in each] == [waits.task_id, first.task_id], pages
assert "Next-Cursor" not in rest.headers, rest

attempts = list_attempts.sync(failed.id, client=api)
assert isinstance(attempts, list) and isinstance(attempts[0], AttemptObject), attempts
assert attempts[0].error == failed.last_error and attempts[0].exit_code is None, attempts

listed = list_tasks.sync(client=api, limit=5)
assert isinstance(listed, list) and {each.id for each in listed} >= {completed.id, failed.id}, listed
assert all(isinstance(each, TaskObject) for each in listed), listed
statuses = [ListTasksStatusItem.PENDING, ListTasksStatusItem.FAILED]
fields = [ListTasksFieldsItem.ID, ListTasksFieldsItem.FAILURE_REASON]
ids = [completed.id, failed.id]
parts = list_tasks.sync(client=api, ids=ids, status=statuses, fields=fields, error="limit")
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
