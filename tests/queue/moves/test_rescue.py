"""rescue: processing -> pending or failed, when a node is dead or its lease has run out."""

from __future__ import annotations

from functools import partial

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tasks_app.queue.claim import rescue
from tasks_app.queue.current import store
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.settle import settle
from tests.queue.moves.kit import (
    NO_RETRY,
    SLOW_RETRY,
    failure,
    row,
    running,
    submitted,
    success,
    take,
    together,
    total,
    tries,
)

pytestmark = pytest.mark.django_db


def run_out() -> None:
    """End the leases of all running tasks."""
    Task.objects.filter(status="processing").update(lease=store().now() - 1.0)


def test_a_task_whose_lease_has_run_out_is_ready_at_once(notifications: list) -> None:
    task = running(SLOW_RETRY)
    run_out()
    notifications.clear()
    assert rescue() == 1
    now = row(task)
    assert (now.status, now.node, now.lease, now.due, now.retries) == ("pending", None, None, None, 1)
    assert now.position == task.position
    assert now.last_error == "the node node was lost while it ran attempt 1"
    assert tries(task) == [(1, "worker_lost")]
    assert notifications == [("echo", 50)]
    [again] = take(node="other")
    assert (again.id, again.attempt, again.retries) == (task.id, 2, 1)


def test_without_leases_none_is_rescued_by_its_lease() -> None:
    task = running()
    run_out()
    assert rescue(expired_leases=False) == 0
    assert rescue(["another"], expired_leases=False) == 0
    assert row(task).status == "processing"


def test_a_lease_of_an_earlier_boot_has_run_out() -> None:
    task = running()
    Task.objects.filter(pk=task.id).update(clock="an earlier boot", lease=store().now() + 1e9)
    assert rescue() == 1
    assert row(task).status == "pending"


def test_a_lease_from_before_the_clock_was_set_back_has_run_out() -> None:
    theirs, ours = running(node="dead"), running(node="alive")
    Task.objects.filter(pk=theirs.id).update(lease=store().now() + 3600)
    assert rescue() == 1
    assert (row(theirs).status, row(ours).status) == ("pending", "processing")


def test_a_task_without_retries_left_fails_as_worker_lost(notifications: list) -> None:
    task = running(NO_RETRY)
    was_ready = row(task).ready_at
    run_out()
    assert rescue() == 1
    now = row(task)
    assert (now.status, now.failure_reason, now.retries, now.node) == ("failed", "worker_lost", 0, None)
    assert now.completed_at is not None
    assert Attempt.objects.get().ended_at == now.completed_at
    assert now.ready_at == was_ready
    assert (total("failed", "echo", "worker_lost"), total("retried")) == (1, 0)


def test_the_retries_are_those_of_the_claims_policy() -> None:
    task = running()  # three retries
    for number in range(1, 4):
        run_out()
        rescue()
        [task] = take()
        assert (task.attempt, task.retries) == (number + 1, number)
    run_out()
    rescue()
    assert row(task).failure_reason == "worker_lost"
    assert tries(task) == [(n, "worker_lost") for n in range(1, 5)]
    assert total("leases_lost", "echo") == total("attempts", "echo", "worker_lost") == 4


def test_more_than_one_batch_is_rescued_in_one_call() -> None:
    count = 2 * rescue.__globals__["TASKS_PER_TRANSACTION"] + 7
    submitted(*[50] * count)
    take(count, node="dead")
    with CaptureQueriesContext(connection) as queries:
        assert rescue(["dead"], expired_leases=False) == count
    assert len(queries) < 60, "a node that rescues for longer than its lease loses its own tasks"
    assert not Task.objects.filter(status="processing").exists()
    assert Attempt.objects.filter(node="dead", number=1, started_at__isnull=False).count() == count
    assert total("leases_lost", "echo") == count


@pytest.mark.django_db(transaction=True)
def test_concurrent_rescues_move_each_task_once() -> None:
    submitted(*[50] * 150)
    take(150)
    run_out()
    assert sum(together(rescue, rescue)) == 150
    assert Attempt.objects.count() == 150
    assert total("leases_lost", "echo") == total("retried", "echo") == 150


@pytest.mark.django_db(transaction=True)
def test_concurrent_rescues_and_settles_move_each_task_once() -> None:
    submitted(*[50] * 200)
    tasks = take(200)
    run_out()
    wins = {"rescue": 0, "settle": 0}
    for n in range(0, 200, 4):
        four = tasks[n : n + 4]
        others = Task.objects.exclude(pk__in=[task.id for task in four]).filter(status="processing")
        with transaction.atomic():
            others.update(lease=store().now() + 500)
            Task.objects.filter(pk__in=[task.id for task in four]).update(lease=store().now() - 1)
        taken, *kept = together(rescue, *[partial(settle, "node", [success(task)]) for task in four])
        settled = sum(len(one) for one in kept)
        taken += rescue()  # rows that a settle had locked
        assert taken + settled == 4
        wins["rescue"] += taken
        wins["settle"] += settled
        for task in four:
            assert len(tries(task)) == 1
            assert (row(task).status == "completed") == (tries(task) == [(1, "success")])
    assert wins["rescue"] + wins["settle"] == 200
    assert (total("leases_lost"), total("completed")) == (wins["rescue"], wins["settle"])
    assert total("stale") == wins["rescue"]


@pytest.mark.django_db(transaction=True)
def test_concurrent_rescues_and_settles_of_batches_do_not_deadlock() -> None:
    for _ in range(15):
        submitted(*[50] * 80)
        tasks = take(100)
        run_out()
        taken, kept = together(
            rescue, partial(settle, "node", [failure(task, retryable=False) for task in reversed(tasks)])
        )
        assert taken + rescue() + len(kept) == len(tasks)
