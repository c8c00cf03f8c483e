"""Helpers of the lifecycle's tests: short names for the verbs' inputs, and queries."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from unittest.mock import patch
from uuid import UUID

from django.db import connection

from tasks_app.metrics.reading import read
from tasks_app.queue.attempt import AttemptResult, ClaimedTask, ClaimRequest, Policy, Selection
from tasks_app.queue.claim import claim
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, Submission, Submitted, TaskOptions
from tasks_app.queue.submit import GroupCommit, submit, submit_many
from tasks_app.runner.endings import OutcomeKind

ALWAYS = frozenset({"error", "timeout", "crash"})
#: Retries are ready at once, so no test waits for a clock.
AT_ONCE = Policy(timeout=5.0, max_retries=3, retry_backoff=0.0, retry_on=ALWAYS)
NO_RETRY = Policy(timeout=5.0, max_retries=0, retry_backoff=0.0, retry_on=ALWAYS)
SLOW_RETRY = Policy(timeout=5.0, max_retries=3, retry_backoff=60.0, retry_on=ALWAYS)


def submitted(*priorities: int, task_type: str = "echo") -> list[UUID]:
    """Submit tasks of these priorities, in this order."""
    return submit_many([NewTask(task_type, {"n": n}, priority) for n, priority in enumerate(priorities)])


def take(
    count: int = 1,
    *,
    node: str = "node",
    task_type: str = "echo",
    policy: Policy = AT_ONCE,
    order: Selection = "fifo",
) -> list[ClaimedTask]:
    """Claim up to `count` rows of one type."""
    return claim(node, [ClaimRequest(task_type, count, policy)], order)


def running(policy: Policy = AT_ONCE, node: str = "node") -> ClaimedTask:
    """Submit and claim a task."""
    submitted_id = submit("echo")
    for task in take(1_000_000, node=node, policy=policy):
        if task.id == str(submitted_id):
            return task
    raise AssertionError("the task could not be claimed")


def success(task: ClaimedTask, result: str = "1", **fields: Any) -> AttemptResult:
    return AttemptResult(task, OutcomeKind.SUCCESS, result=result, **fields)


def failure(task: ClaimedTask, kind: OutcomeKind = OutcomeKind.ERROR, **fields: Any) -> AttemptResult:
    return AttemptResult(task, kind, error="it broke", **fields)


def release(node: str, tasks: list[ClaimedTask], why: str, unread: bool = False) -> set[tuple[str, int]]:
    """End attempts for a reason that is not their tasks'."""
    return settle(node, [AttemptResult(task, OutcomeKind.RELEASED, error=why, unread=unread) for task in tasks])


def row(task: ClaimedTask | UUID | str) -> Task:
    return Task.objects.get(pk=task.id if isinstance(task, ClaimedTask) else task)


def tries(task: ClaimedTask | UUID | str) -> list[tuple[int, str]]:
    """The (number, outcome) of a task's attempts."""
    key = task.id if isinstance(task, ClaimedTask) else task
    return list(Attempt.objects.filter(task_id=key).order_by("number").values_list("number", "outcome"))


def total(name: str, *labels: str) -> int:
    """The value of a counter."""
    return read().totals.sum(name, *labels)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Call these at the same time, each in a thread with its own connection. Returns their results."""
    start = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)
    errors: list[BaseException] = []

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            connection.ensure_connection()
            start.wait(10)
            results[index] = call()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index, call)) for index, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]
    return results


def submit_later(group_commit: GroupCommit, submission: Submission) -> Future[Submitted]:
    """A submission, and later what came of it."""
    submitted: Future[Submitted] = Future()

    def callback(outcome: Submitted | Exception) -> None:
        if isinstance(outcome, Exception):
            submitted.set_exception(outcome)
        else:
            submitted.set_result(outcome)

    group_commit.submit_nowait(submission, callback)
    return submitted


def close(group_commit: GroupCommit) -> None:
    """Close the connections of the threads that commit, which would keep the tests' database from being removed."""
    with patch.object(sys.modules[GroupCommit.__module__], "notify_for", lambda _: connection.close()):
        for options in (None, TaskOptions()):
            submit_later(group_commit, Submission([NewTask("echo", options=options)])).result(30)
