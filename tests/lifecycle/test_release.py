"""release: processing -> pending, at its old place, without spending a retry."""

from __future__ import annotations

import pytest

from tasks_app.lifecycle import release, settle
from tests.lifecycle.kit import NO_RETRY, failure, row, running, submitted, success, take, total, tries

pytestmark = pytest.mark.django_db


def test_a_released_task_is_ready_at_once_at_its_old_place() -> None:
    first, second = submitted(50, 50)
    [task] = take()
    assert release("node", [task], "drained") == {(task.id, 1)}
    now = row(first)
    assert (now.status, now.due, now.node, now.lease, now.place) == ("pending", None, None, None, task.place)
    assert [one.id for one in take(2)] == [str(first), str(second)]


def test_a_release_is_an_attempt_that_costs_no_retry() -> None:
    task = running(NO_RETRY)
    for number in range(1, 8):
        release("node", [task], "drained")
        [task] = take(policy=NO_RETRY)
        assert (task.attempt, task.retries) == (number + 1, 0)
    settle("node", [success(task)])
    assert tries(task) == [(n, "released") for n in range(1, 8)] + [(8, "success")]
    assert (total("attempts", "echo", "released"), total("retried"), total("completed")) == (7, 0, 1)


def test_what_is_no_more_the_nodes_cannot_be_given_back() -> None:
    task = running()
    settle("node", [failure(task)])
    take(node="other")
    assert release("node", [task], "drained") == set()
    assert (row(task).node, row(task).status) == ("other", "processing")
    assert release("node", [], "drained") == set()
