"""release: processing -> pending at its old position, without spending a retry."""

from __future__ import annotations

import time

import pytest

from tasks_app.queue.attempt import AttemptResult, ClaimedTask
from tasks_app.queue.models import Attempt
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import NO_RETRY, failure, release, row, running, submitted, success, take, total, tries

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
        settle("node", [AttemptResult(task, OutcomeKind.RELEASED, error="not begun", handler_fault=kind)])
        [task] = take(policy=NO_RETRY)
    settle("node", [AttemptResult(task, OutcomeKind.RELEASED, error="not begun", handler_fault=kind)])
    assert [outcome for _, outcome in tries(task)] == ["released"] * 3 + [kind.value]
    assert (row(task).status, row(task).failure_reason) == ("failed", kind.value)


def unread(task: ClaimedTask, answered_at: float | None = None, log: str = "") -> AttemptResult:
    """The result of an attempt whose container ended before a byte of the task's line was read."""
    return AttemptResult(
        task, OutcomeKind.RELEASED, error="ended before it read its line", handler_fault=OutcomeKind.CRASH,
        unread=True, answered_at=answered_at, stderr_tail=log,
    )  # fmt: skip


@pytest.mark.parametrize("answered_before", [False, True])
def test_while_its_type_does_not_answer_a_task_is_released_as_often_as_its_line_is_not_read(
    answered_before: bool,
) -> None:
    task = running(NO_RETRY)
    answered_at = time.monotonic() - 3600.0 if answered_before else None
    for _ in range(12):
        settle("node", [unread(task, answered_at)])
        [task] = take(policy=NO_RETRY)
    assert {outcome for _, outcome in tries(task)} == {"released"}
    assert (task.attempt, task.retries) == (13, 0)


def test_a_task_whose_line_is_not_read_while_its_type_answers_is_released_three_times_in_a_row() -> None:
    task = running(NO_RETRY)
    for _ in range(4):
        settle("node", [unread(task, time.monotonic())])
        claimed = take(policy=NO_RETRY)
        task = claimed[0] if claimed else task
    assert [outcome for _, outcome in tries(task)] == ["released"] * 3 + ["crash"]
    assert (row(task).status, row(task).failure_reason) == ("failed", "crash")


def test_of_releases_with_the_same_log_only_the_first_one_keeps_it() -> None:
    task = running(NO_RETRY)
    for log in ("no module", "no module", "no module", "no file", "no file"):
        settle("node", [unread(task, log=log)])
        [task] = take(policy=NO_RETRY)
    kept = Attempt.objects.order_by("number").values_list("stderr_tail", "error")
    says = "ended before it read its line"
    assert list(kept) == [
        ("no module", says), ("", f"{says} (its log: as of attempt 1)"), ("", f"{says} (its log: as of attempt 1)"),
        ("no file", says), ("", f"{says} (its log: as of attempt 4)"),
    ]  # fmt: skip


def test_a_settle_of_releases_and_others_moves_all_of_them() -> None:
    submitted(50, 50, 50)
    first, second, third = take(3)
    kept = settle("node", [success(first), unread(second), failure(third, retryable=False)])
    assert kept == {(each.id, 1) for each in (first, second, third)}
    assert [row(each).status for each in (first, second, third)] == ["completed", "pending", "failed"]
    assert [row(each).unbegun_attempts for each in (first, second, third)] == [None, 1, None]


def test_another_outcome_in_between_restarts_the_count() -> None:
    task = running()
    for number in range(1, 8):
        released = AttemptResult(task, OutcomeKind.RELEASED, error="not begun", handler_fault=OutcomeKind.CRASH)
        settle("node", [failure(task) if number == 3 else released])
        [task] = take()
    assert [outcome for _, outcome in tries(task)] == ["released"] * 2 + ["error"] + ["released"] * 3 + ["crash"]
