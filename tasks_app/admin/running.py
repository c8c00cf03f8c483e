"""Running tasks, as the pages of a handler and of a node show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tasks_app.admin.text import line
from tasks_app.metrics.span import span
from tasks_app.models import Task, TaskQuerySet

#: Those that were started last are shown.
MAX_RUNNING = 50


@dataclass(frozen=True)
class RunningTask:
    """`took`: how long its attempt has run."""

    task: Task
    task_type: str
    node: str
    took: str


def running(tasks: TaskQuerySet, now: datetime) -> list[RunningTask]:
    """The running tasks that were started last, MAX_RUNNING at most."""
    # In an order that no index has: by the key, SQLite would look for them among all finished tasks.
    rows = tasks.order_by("-started_at").only("pk", "task_type", "node", "attempts", "started_at")[:MAX_RUNNING]
    return [
        RunningTask(row, line(row.task_type, 60), line(row.node), span(now - row.started_at) if row.started_at else "")
        for row in rows
    ]
