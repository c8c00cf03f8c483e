"""renew and held: a node keeps what is its own, and learns what is not any more."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial

import pytest
from django.db import connection, transaction

from tasks_app import clock
from tasks_app.lifecycle import cancel, delete, held, release, renew, settle
from tasks_app.lifecycle.claim import LEASE
from tasks_app.models import Task
from tests.lifecycle.kit import row, running, submitted, success, take, together

pytestmark = pytest.mark.django_db


def test_a_renewal_lasts_thirty_seconds_from_now() -> None:
    task = running()
    Task.objects.filter(pk=task.id).update(lease=clock.now() + 1, clock="an earlier one")
    before = clock.reading()
    assert renew("node", [task.id]) == {(task.id, 1)}
    lease = row(task).lease
    assert lease is not None and before + LEASE <= lease <= clock.reading() + LEASE
    assert row(task).clock == clock.clock_id()


def test_only_the_named_tasks_are_renewed() -> None:
    submitted(50, 50)
    ours, lost_answer = take(2)
    Task.objects.update(lease=clock.now())
    stale = row(lost_answer).lease
    assert renew("node", [ours.id]) == {(ours.id, 1)}
    assert row(lost_answer).lease == stale


def test_what_is_not_the_nodes_own_is_not_renewed() -> None:
    other, done, gone = running(node="other"), running(), running()
    settle("node", [success(done)])
    delete(row(gone).pk)
    lease = row(other).lease
    assert renew("node", [other.id, done.id, gone.id]) == set()
    assert row(other).lease == lease
    assert row(done).lease is None


def test_nothing_to_renew_is_no_fault() -> None:
    assert renew("node", []) == set()


def test_held_is_what_the_database_says_a_node_runs() -> None:
    submitted(*[50] * 5)
    kept, done, back, gone, ended = take(5)
    running(node="other")
    settle("node", [success(done)])
    delete(row(gone).pk)
    cancel(row(ended).pk)
    assert held("node") == {(kept.id, 1), (back.id, 1)}
    release("node", [back], "drained")
    assert held("node") == {(kept.id, 1)}
    take()
    assert held("node") == {(kept.id, 1), (back.id, 2)}
    assert held("nobody") == set()


@pytest.mark.django_db(transaction=True)
def test_renewing_beside_settling_never_waits_for_each_other_in_a_circle() -> None:
    for _ in range(25):
        submitted(*[50] * 80)
        tasks = take(80)
        _, kept = together(
            partial(renew, "node", [task.id for task in tasks]),
            partial(settle, "node", [success(task) for task in reversed(tasks)]),
        )
        assert len(kept) == 80
    assert held("node") == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
def test_a_row_that_somebody_holds_is_not_said_to_be_renewed() -> None:
    submitted(50, 50)
    free, held_by_another = take(2)
    before = row(held_by_another).lease
    holds, over = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(connection), transaction.atomic():
            Task.objects.select_for_update().get(pk=held_by_another.id)
            holds.set()
            over.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert holds.wait(30)
        assert renew("node", [free.id, held_by_another.id]) == {(free.id, 1)}
    finally:
        over.set()
        other.join(30)
    assert row(held_by_another).lease == before
