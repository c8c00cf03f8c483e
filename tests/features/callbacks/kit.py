"""Tasks with a `callback_url`, and what was told of them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from tasks_app.features.callbacks import UNTOLD
from tasks_app.features.callbacks.models import Delivery
from tasks_app.queue.attempt import AttemptResult, ClaimedTask
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from tests.queue.moves.kit import NO_RETRY, failure, success, take

URL = "https://example.org/tasks?of=x"
SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER_SECRET = "whsec_" + "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="


def followed(count: int = 1, data: Any = None, **options: Any) -> list[UUID]:
    """Tasks of `echo` that are to be told of."""
    options = {"callback_url": URL, **options}
    return submit_many([NewTask("echo", data or {}, options=TaskOptions(**options)) for _ in range(count)])


def claimed(count: int = 1, **options: Any) -> list[ClaimedTask]:
    """The same, claimed."""
    followed(count, **options)
    return take(count, policy=NO_RETRY)


def end(*results: AttemptResult) -> None:
    settle("node", list(results))


def ended(count: int = 1, fails: bool = False, **options: Any) -> list[UUID]:
    """The same, ended."""
    tasks = claimed(count, **options)
    end(*(failure(task, retryable=False) if fails else success(task) for task in tasks))
    return [UUID(task.id) for task in tasks]


def told() -> list[tuple[UUID, str]]:
    """Each delivery's task and event, in the order in which they were written."""
    return list(Delivery.objects.order_by("id").values_list("task", "event"))


def body(delivery: Delivery | None = None) -> dict[str, Any]:
    """What is sent, the only delivery's."""
    found: dict[str, Any] = json.loads((delivery or Delivery.objects.get()).body)
    return found


def untold() -> int:
    return Task.objects.where(UNTOLD).count()
