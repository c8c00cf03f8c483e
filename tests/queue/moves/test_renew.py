"""renew and held: a node keeps its tasks, and learns which it no longer holds."""

from __future__ import annotations

from functools import partial

import pytest

from tasks_app.queue.claim import LEASE_SECONDS, renew
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from tests.queue.moves.kit import row, running, submitted, success, take, together

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
