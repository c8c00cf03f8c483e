"""Pools, as the pages of a handler and of a node show them: the slots of a handler on a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks_app.admin.text import harmless, line
from tasks_app.handlers.words import span
from tasks_app.queue.models import Task, TaskQuerySet

MAX_PROBLEM_CHARS = 2_000
#: `sha256:` is left out, as `docker images` does.
IMAGE_DIGEST_CHARS = 12


@dataclass(frozen=True)
class PoolRow:
    """One pool. `name`, `link`: of its handler on the page of a node, of its node on the page of a handler.

    `slots`: all of them. `digest`: of the node's handlers.toml; `differs`: from this web server's.
    """

    name: str
    link: str
    busy: int
    warm: int
    slots: int
    images: list[str]
    problem: str
    digest: str = ""
    differs: bool = False
    draining: bool = False


def pool_row(name: str, link: str, state: Mapping[str, Any], busy: int, **more: Any) -> PoolRow:
    """A pool by the state that its node wrote. `more`: the fields from `digest` on."""
    images = [line(str(image).removeprefix("sha256:")[:IMAGE_DIGEST_CHARS]) for image in state.get("images", ())]
    problem = harmless(str(state.get("problem") or "")[:MAX_PROBLEM_CHARS])
    return PoolRow(line(name, 60), link, busy, state.get("warm", 0), state.get("slots", 0), images, problem, **more)


# Running tasks, as the pages of a handler and of a node show them.

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
