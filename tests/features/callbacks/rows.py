"""Callbacks as the telling of ends and the sender write them, and how statements find them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from uuid_utils.compat import uuid7

from tasks_app.db.lookups import first_id
from tasks_app.features.callbacks.models import Delivery, Event, State
from tasks_app.queue.current import store

URL = "https://hooks.example.org/S3CRET"


def delivery(status: State = State.PENDING, due_in: float = 60.0, **given: Any) -> Delivery:
    """A callback; a pending one is due in so many seconds. Its id begins with its `created_at`, as each does."""
    now = store().moment()[1]
    if "created_at" in given:
        given["id"] = UUID(int=first_id(given["created_at"]).int + uuid7().int % (1 << 80))
    times: dict[str, Any] = {"ended_at": now}
    if status is State.PENDING:
        times = {"next_at": now + timedelta(seconds=due_in)}
    return Delivery.objects.create(**{
        "task": uuid4(), "task_type": "echo", "url": URL, "host": "hooks.example.org:443", "event": Event.COMPLETED,
        "body": '{"type":"task.completed"}', "created_at": now, "status": status, **times, **given,
    })  # fmt: skip


def plan_by_index(sql: str) -> str:
    """A statement's plan, if an index is used wherever there is one for it."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + sql)
        return str(cursor.fetchall())
