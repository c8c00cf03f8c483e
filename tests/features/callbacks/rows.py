"""Callbacks as the telling of ends and the sender write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from tasks_app.features.callbacks.models import Delivery, Event, State
from tasks_app.queue.current import store

URL = "https://hooks.example.org/S3CRET"


def delivery(status: State = State.PENDING, due_in: float = 60.0, **given: Any) -> Delivery:
    """A callback; a pending one is due in so many seconds."""
    now = store().moment()[1]
    times: dict[str, Any] = {"ended_at": now}
    if status is State.PENDING:
        times = {"next_at": now + timedelta(seconds=due_in)}
    return Delivery.objects.create(**{
        "task": uuid4(), "task_type": "echo", "url": URL, "host": "hooks.example.org:443", "event": Event.COMPLETED,
        "body": '{"type":"task.completed"}', "created_at": now, "status": status, **times, **given,
    })  # fmt: skip
