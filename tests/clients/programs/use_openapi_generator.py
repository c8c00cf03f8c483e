"""Uses the client that openapi-generator made for Python (`openapi_client`), against the daemon at argv[1]."""

from __future__ import annotations

import sys
from uuid import uuid4

import pytest
from openapi_client import (
    ApiClient,
    Configuration,
    ErrorObject,
    HandlersApi,
    NewTaskRequest,
    OperationsApi,
    RedriveRequest,
    TasksApi,
)
from openapi_client.exceptions import ApiException, NotFoundException

client = ApiClient(Configuration(host=sys.argv[1]))
tasks = TasksApi(client)

run = str(uuid4())
# Submit and wait, then submit again with the same key.
new = NewTaskRequest(type="echo", data={"hello": "world"}, tags=[run])
queued = tasks.queue_task(new, wait=60, idempotency_key=run)
assert queued.task is not None and queued.task.status == "completed", queued
assert queued.task.result == {"hello": "world"}, queued
assert tasks.queue_task(new, idempotency_key=run).task_id == queued.task_id

# Wait for one that fails, and redrive it with other data.
failed = tasks.queue_task(NewTaskRequest(type="prime", data={"limit": "many"}, tags=[run]))
task = tasks.get_task(failed.task_id, wait=60)
assert (task.status, task.failure_reason) == ("failed", "handler_error"), task
assert task.last_error and task.completed_at is not None, task
redriven = tasks.redrive_task(failed.task_id, redrive_request=RedriveRequest(data={"limit": 10}, priority=90))
assert (redriven.status, redriven.priority) == ("pending", 90), redriven
assert tasks.get_task(failed.task_id, wait=60).status == "completed"

# Cancel one that waits.
late = tasks.queue_task(NewTaskRequest(type="echo", delay=600, tags=[run]))
cancelled = tasks.cancel_task(late.task_id)
assert (cancelled.status, cancelled.failure_reason) == ("failed", "cancelled"), cancelled

# List them, with filters and fields, by pages.
listed = tasks.list_tasks(tag=[run], status=["failed", "completed"], type=["echo", "prime"])
assert {task.actual_instance.id for task in listed} == {queued.task_id, failed.task_id, late.task_id}, listed
page = tasks.list_tasks_with_http_info(tag=[run], limit=2)
assert page.headers is not None and len(page.data) == 2, page
headers = {name.lower(): value for name, value in page.headers.items()}
rest = tasks.list_tasks(tag=[run], limit=2, cursor=headers["next-cursor"])
assert {task.actual_instance.id for task in [*page.data, *rest]} == {task.actual_instance.id for task in listed}

# What is refused says why.
with pytest.raises(ApiException) as refused:
    tasks.queue_task(NewTaskRequest(type="ecko"))
assert refused.value.status == 400 and isinstance(refused.value.data, ErrorObject), refused.value
assert "echo" in refused.value.data.error, refused.value
with pytest.raises(NotFoundException):
    tasks.get_task(uuid4())

assert {"echo", "prime"} <= {handler.type for handler in HandlersApi(client).list_handlers()}
assert OperationsApi(client).list_operations() is not None
