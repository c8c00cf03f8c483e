"""Uses the models that datamodel-codegen generated (`models`), against the daemon at argv[1]."""

from __future__ import annotations

import sys
import time
from uuid import uuid4

import httpx
from models import (
    AttemptObject,
    ErrorObject,
    FailureReasonEnum,
    HandlerObject,
    Health,
    NewTaskRequest,
    NewTasksRequest,
    OutcomeEnum,
    Queued,
    QueuedTogether,
    Summary,
    TaskObject,
    TaskPart,
    TaskStatus,
)
from pydantic import TypeAdapter


def ended(api: httpx.Client, task_id: object) -> TaskObject:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        task = TaskObject.model_validate_json(api.get(f"/api/tasks/{task_id}").content)
        if task.status in (TaskStatus.completed, TaskStatus.failed):
            return task
        time.sleep(0.05)
    raise SystemExit(f"task {task_id} has not ended")


with httpx.Client(base_url=sys.argv[1], timeout=90) as api:
    new = NewTaskRequest(type="echo", data={"hello": "world"})
    answer = api.post("/queue", content=new.model_dump_json())
    completed = ended(api, Queued.model_validate_json(answer.content).task_id)
    assert completed.status is TaskStatus.completed and completed.result == {"hello": "world"}, completed
    assert completed.failure_reason is None and completed.last_error is None and completed.due_at is None, completed

    batch = NewTasksRequest(tasks=[NewTaskRequest(type="prime", data={"limit": "many"}, priority=100)])
    answer = api.post("/queue/batch", content=batch.model_dump_json())
    (identity,) = QueuedTogether.model_validate_json(answer.content).task_ids
    failed = ended(api, identity)
    assert failed.failure_reason is FailureReasonEnum.handler_error and failed.result is None, failed

    run = str(uuid4())
    new = NewTaskRequest(
        type="echo", delay=0.2, expires_in=600, timeout=20, max_retries=1, tags=[run], metadata={"n": 1}, unique_key=run
    )
    for replayed in (None, "true"):
        headers = {"Idempotency-Key": run, "Prefer": "wait=60"}
        answer = api.post("/queue", content=new.model_dump_json(), headers=headers)
        assert answer.headers.get("Idempotent-Replayed") == replayed, answer.headers
        task = Queued.model_validate_json(answer.content).task
        assert task is not None and (task.status, task.metadata) == (TaskStatus.completed, {"n": 1}), task
        assert (task.timeout, task.max_retries, task.unique_key) == (20, 1, run), task
    attempts = TypeAdapter(list[AttemptObject])
    (attempt,) = attempts.validate_json(api.get(f"/api/tasks/{identity}/attempts").content)
    assert attempt.outcome is OutcomeEnum.error and attempt.error == failed.last_error, attempt
    assert attempt.image is None and attempt.exit_code is None, attempt

    listed = TypeAdapter(list[TaskObject]).validate_json(api.get("/api/tasks").content)
    assert {each.id for each in listed} >= {completed.id, failed.id}, listed
    answer = api.get("/api/tasks", params={"ids": str(identity), "fields": "id,status"})
    (part,) = TypeAdapter(list[TaskPart]).validate_json(answer.content)
    assert (part.id, part.status, part.result) == (failed.id, TaskStatus.failed, None), part
    handlers = TypeAdapter(list[HandlerObject]).validate_json(api.get("/api/handlers").content)
    assert "echo" in {each.type for each in handlers}, handlers
    wrong = api.post("/queue", content=NewTaskRequest(type="unknown").model_dump_json())
    assert wrong.status_code == 400 and "unknown" in ErrorObject.model_validate_json(wrong.content).error, wrong.text
    Health.model_validate_json(api.get("/health").content)
    Summary.model_validate_json(api.get("/api/metrics").content)
