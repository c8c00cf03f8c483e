"""release: processing -> pending at its old position, without spending a retry."""

from __future__ import annotations

import pytest

from tasks_app.lifecycle import AttemptResult, settle
from tasks_app.models import OutcomeKind
from tests.lifecycle.kit import NO_RETRY, failure, release, row, running, submitted, success, take, total, tries

pytestmark = pytest.mark.django_db


def test_a_released_task_is_ready_at_once_at_its_old_position() -> None:
    first, second = submitted(50, 50)
    [task] = take()
    assert release("node", [task], "drained") == {(task.id, 1)}
    now = row(first)
    assert (now.status, now.due, now.node, now.lease, now.position) == ("pending", None, None, None, task.position)
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


@pytest.mark.parametrize("kind", [OutcomeKind.CRASH, OutcomeKind.BAD_REPLY])
def test_a_handler_may_return_a_task_that_it_has_not_begun_three_times_in_a_row(kind: OutcomeKind) -> None:
    task = running(NO_RETRY)
    for _ in range(3):
        settle("node", [AttemptResult(task, OutcomeKind.RELEASED, error="not begun", kind_if_repeated=kind)])
        [task] = take(policy=NO_RETRY)
    settle("node", [AttemptResult(task, OutcomeKind.RELEASED, error="not begun", kind_if_repeated=kind)])
    assert [outcome for _, outcome in tries(task)] == ["released"] * 3 + [kind.value]
    assert (row(task).status, row(task).failure_reason) == ("failed", kind.value)


def test_another_outcome_in_between_restarts_the_count() -> None:
    task = running()
    for number in range(1, 8):
        released = AttemptResult(task, OutcomeKind.RELEASED, error="not begun", kind_if_repeated=OutcomeKind.CRASH)
        settle("node", [failure(task) if number == 3 else released])
        [task] = take()
    assert [outcome for _, outcome in tries(task)] == ["released"] * 2 + ["error"] + ["released"] * 3 + ["crash"]


def test_a_task_that_the_node_no_longer_holds_cannot_be_released() -> None:
    task = running()
    settle("node", [failure(task)])
    take(node="other")
    assert release("node", [task], "drained") == set()
    assert (row(task).node, row(task).status) == ("other", "processing")
    assert release("node", [], "drained") == set()
