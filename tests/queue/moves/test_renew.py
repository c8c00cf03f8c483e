"""renew and held: a node keeps its tasks, and learns which it no longer holds."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial

import pytest
from django.db import connection, transaction

from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import LEASE_SECONDS, renew, still_held
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from tests.queue.moves.kit import release, row, running, submitted, success, take, together

pytestmark = pytest.mark.django_db


def test_a_renewal_lasts_thirty_seconds_from_now() -> None:
    task = running()
    Task.objects.filter(pk=task.id).update(lease=store().now() + 1, clock="an earlier one")
    before = store().seconds()
    assert renew("node", [task.id]) == {(task.id, 1)}
    lease = row(task).lease
    assert lease is not None and before + LEASE_SECONDS <= lease <= store().seconds() + LEASE_SECONDS
    assert row(task).clock == store().clock_id()


def test_only_the_named_tasks_are_renewed() -> None:
    submitted(50, 50)
    ours, lost_answer = take(2)
    Task.objects.update(lease=store().now())
    stale = row(lost_answer).lease
    assert renew("node", [ours.id]) == {(ours.id, 1)}
    assert row(lost_answer).lease == stale


def test_a_task_that_the_node_does_not_hold_is_not_renewed() -> None:
    other, completed, deleted = running(node="other"), running(), running()
    settle("node", [success(completed)])
    delete(row(deleted).pk)
    lease = row(other).lease
    assert renew("node", [other.id, completed.id, deleted.id]) == set()
    assert row(other).lease == lease
    assert row(completed).lease is None


def test_an_empty_renewal_renews_nothing() -> None:
    assert renew("node", []) == set()


def test_held_is_what_the_database_says_a_node_runs() -> None:
    submitted(*[50] * 5)
    tasks = take(5)
    kept, completed, back, deleted, cancelled = tasks
    ids = [*(task.id for task in tasks), running(node="other").id]
    settle("node", [success(completed)])
    delete(row(deleted).pk)
    cancel(row(cancelled).pk)
    assert still_held("node", ids) == {(kept.id, 1), (back.id, 1)}
    release("node", [back], "drained")
    assert still_held("node", ids) == {(kept.id, 1)}
    take()
    assert still_held("node", ids) == {(kept.id, 1), (back.id, 2)}
    assert still_held("unknown", ids) == set()


@pytest.mark.django_db(transaction=True)
def test_concurrent_renewals_and_settles_do_not_deadlock() -> None:
    for _ in range(25):
        submitted(*[50] * 80)
        tasks = take(80)
        _, kept = together(
            partial(renew, "node", [task.id for task in tasks]),
            partial(settle, "node", [success(task) for task in reversed(tasks)]),
        )
        assert len(kept) == 80
    assert not Task.objects.filter(status="processing").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
def test_a_locked_row_is_not_reported_as_renewed() -> None:
    submitted(50, 50)
    free, locked = take(2)
    before = row(locked).lease
    locks, finish = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(connection), transaction.atomic():
            Task.objects.select_for_update().get(pk=locked.id)
            locks.set()
            finish.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert locks.wait(30)
        assert renew("node", [free.id, locked.id]) == {(free.id, 1)}
    finally:
        finish.set()
        other.join(30)
    assert row(locked).lease == before
