"""The answer of `POST /queue`. The view, the fast path and waits have it from here, so that they answer alike."""

from __future__ import annotations

from uuid import UUID

from tasks_app.api.idempotency import replayed
from tasks_app.lifecycle import Submitted


def queued_body(task: UUID, existing: bool | None, task_object: bytes | None = None) -> bytes:
    """The body. `existing`: whether the task was stored before, None if it has no unique key. `task_object`: JSON."""
    more = b"" if existing is None else b',"existing":%b' % (b"true" if existing else b"false")
    if task_object is not None:
        more += b',"task":%b' % task_object
    return b'{"task_id":"%b"%b}' % (str(task).encode(), more)


def existing_of(submitted: Submitted) -> bool | None:
    """`existing` of a single task."""
    return None if submitted.existing is None else submitted.existing[0]


def queued_headers(submitted: Submitted) -> dict[str, str]:
    """The headers beside those of every answer."""
    return {"Location": f"/api/tasks/{submitted.ids[0]}", **replayed(submitted)}
