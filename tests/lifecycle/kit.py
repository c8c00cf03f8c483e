"""What the lifecycle's tests are written with: short names for the verbs' inputs, and a way to look at a row."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import connection

from tasks_app.lifecycle import Claimed, Ended, NewTask, Policy, Want, claim, submit, submit_many
from tasks_app.lifecycle.claim import Selection
from tasks_app.metrics.reading import read
from tasks_app.models import Attempt, OutcomeKind, Task

ALWAYS = frozenset({"error", "timeout", "crash"})
#: Retries come at once: what a test waits for is never the clock.
AT_ONCE = Policy(timeout=5.0, max_retries=3, retry_backoff=0.0, retry_on=ALWAYS)
NO_RETRY = Policy(timeout=5.0, max_retries=0, retry_backoff=0.0, retry_on=ALWAYS)
SLOW_RETRY = Policy(timeout=5.0, max_retries=3, retry_backoff=60.0, retry_on=ALWAYS)


def submitted(*priorities: int, task_type: str = "echo") -> list[UUID]:
    """Tasks of these priorities, in this order."""
    return submit_many([NewTask(task_type, {"n": n}, priority) for n, priority in enumerate(priorities)])


def take(
    count: int = 1,
    *,
    node: str = "node",
    task_type: str = "echo",
    policy: Policy = AT_ONCE,
    order: Selection = "fifo",
) -> list[Claimed]:
    """Claim up to `count` rows of one type."""
    return claim(node, [Want(task_type, count, policy)], order)


def running(policy: Policy = AT_ONCE, node: str = "node") -> Claimed:
    """A task that was just submitted and claimed."""
    wanted = submit("echo")
    for task in take(1_000_000, node=node, policy=policy):
        if task.id == str(wanted):
            return task
    raise AssertionError("the task could not be claimed")


def success(task: Claimed, result: str = "1", **said: Any) -> Ended:
    return Ended(task, OutcomeKind.SUCCESS, result=result, **said)


def failure(task: Claimed, kind: OutcomeKind = OutcomeKind.ERROR, **said: Any) -> Ended:
    return Ended(task, kind, error="it broke", **said)


def row(task: Claimed | UUID | str) -> Task:
    return Task.objects.get(pk=task.id if isinstance(task, Claimed) else task)


def tries(task: Claimed | UUID | str) -> list[tuple[int, str]]:
    """The (number, outcome) of a task's attempts."""
    key = task.id if isinstance(task, Claimed) else task
    return list(Attempt.objects.filter(task_id=key).order_by("number").values_list("number", "outcome"))


def total(name: str, *labels: str) -> int:
    """A counter, over all its writers."""
    return read().totals.sum(name, *labels)


def together(*doing: Callable[[], Any]) -> list[Any]:
    """Do these at the same moment, each in a thread with a connection of its own. Answers what they answered."""
    start = threading.Barrier(len(doing))
    answers: list[Any] = [None] * len(doing)
    errors: list[BaseException] = []

    def one(index: int, do: Callable[[], Any]) -> None:
        try:
            connection.ensure_connection()
            start.wait(10)
            answers[index] = do()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(index, do)) for index, do in enumerate(doing)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]
    return answers
