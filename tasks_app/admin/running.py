"""Running tasks, as the pages of a handler and of a node show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tasks_app.admin.text import line
from tasks_app.metrics.span import span
from tasks_app.models import Task, TaskQuerySet

#: The newest ones are shown.
MAX_RUNNING = 50


@dataclass(frozen=True)
class RunningTask:
    """`took`: how long its attempt has run."""

    task: Task
    task_type: str
    node: str
    took: str


def running(tasks: TaskQuerySet, now: datetime) -> list[RunningTask]:
    """The newest of these running tasks."""
    rows = tasks.order_by("-pk").only("pk", "task_type", "node", "attempts", "started_at")[:MAX_RUNNING]
    return [
        RunningTask(row, line(row.task_type, 60), line(row.node), span(now - row.started_at) if row.started_at else "")
        for row in rows
    ]
