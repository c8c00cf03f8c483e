"""Running tasks for pages, and slots as pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from tasks_app.admin.text import harmless, line
from tasks_app.metrics.span import span
from tasks_app.models import Task, TaskQuerySet

#: The newest ones are shown.
MAX_RUNNING = 50
MAX_PROBLEM_CHARS = 2_000
#: `sha256:` is left out, as `docker images` does.
IMAGE_DIGEST_CHARS = 12


@dataclass(frozen=True)
class RunningTask:
    """`took`: how long its attempt has run."""

    task: Task
    task_type: str
    node: str
    took: str


@dataclass(frozen=True)
class Slots:
    """The slots of a handler on a node. `name`, `link`: of whichever the page is not about."""

    name: str
    link: str
    busy: int
    warm: int
    all: int
    images: list[str]
    problem: str
    digest: str = ""
    differs: bool = False
    draining: bool = False


def running(tasks: TaskQuerySet, now: datetime | None = None) -> list[RunningTask]:
    """The newest of these running tasks."""
    now = now or timezone.now()
    rows = tasks.order_by("-pk").only("pk", "task_type", "node", "attempts", "started_at", "priority")[:MAX_RUNNING]
    return [
        RunningTask(row, line(row.task_type, 60), line(row.node), span(now - row.started_at) if row.started_at else "")
        for row in rows
    ]


def slots(name: str, link: str, state: Mapping[str, Any], busy: int, **more: Any) -> Slots:
    """From what a node wrote of one of its pools."""
    images = [line(str(image).removeprefix("sha256:")[:IMAGE_DIGEST_CHARS]) for image in state.get("images", ())]
    problem = harmless(str(state.get("problem") or "")[:MAX_PROBLEM_CHARS])
    return Slots(line(name, 60), link, busy, state.get("warm", 0), state.get("slots", 0), images, problem, **more)
