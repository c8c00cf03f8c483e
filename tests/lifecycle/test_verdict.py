"""The table of contract section 5, row by row, through the verdict and through a settle."""

from __future__ import annotations

import pytest

from tasks_app.lifecycle import Ended, Policy, settle
from tasks_app.lifecycle.verdict import LONGEST_PAUSE, Verdict, pause_before, verdict
from tasks_app.models import OutcomeKind, Task
from tests.lifecycle.kit import ALWAYS, AT_ONCE, NO_RETRY, row, running, take, total, tries

pytestmark = pytest.mark.django_db

K = OutcomeKind
NEVER = Policy(timeout=5.0, max_retries=3, retry_backoff=0.0, retry_on=frozenset())
# what happened, whether the handler called it retryable, then with budget left, then with the budget spent
TABLE = [
    (K.SUCCESS, True, "completed", "completed"),
    (K.ERROR, False, "handler_error", "handler_error"),
    (K.ERROR, True, "pending", "retries_exhausted"),
    (K.TIMEOUT, True, "pending", "timeout"),
    (K.CRASH, True, "pending", "crash"),
    (K.OOM, True, "pending", "oom"),
    (K.BAD_REPLY, True, "pending", "bad_reply"),
    (K.WORKER_LOST, True, "pending", "worker_lost"),
    (K.RELEASED, True, "pending", "pending"),
]
ROWS = pytest.mark.parametrize(("kind", "retryable", "with_budget", "spent"), TABLE, ids=lambda value: str(value))


def word(decided: Verdict) -> str:
    """The reason of a failure, the status of everything else."""
    return str(decided.reason or decided.status)


@ROWS
def test_the_table_says_where_a_task_goes(kind: OutcomeKind, retryable: bool, with_budget: str, spent: str) -> None:
    assert word(verdict(kind, 0, AT_ONCE, retryable)) == with_budget
    assert word(verdict(kind, 2, AT_ONCE, retryable)) == with_budget
    assert word(verdict(kind, 3, AT_ONCE, retryable)) == spent
    assert word(verdict(kind, 0, NO_RETRY, retryable)) == spent


@ROWS
def test_a_settle_takes_a_task_there(kind: OutcomeKind, retryable: bool, with_budget: str, spent: str) -> None:
    for policy, expected in ((AT_ONCE, with_budget), (NO_RETRY, spent)):
        task = running(policy)
        result = "1" if kind == K.SUCCESS else None
        error = None if kind == K.SUCCESS else "what went wrong"
        ended = Ended(task, kind, result=result, error=error, retryable=retryable)
        assert settle("node", [ended]) == {(task.id, 1)}
        now = row(task)
        assert (now.failure_reason or now.status) == expected
        assert now.last_error == error
        assert (now.completed_at is None) == (now.status == "pending")
        assert now.retries == (1 if now.status == "pending" and kind != K.RELEASED else 0)
        assert tries(task) == [(1, kind)]
        Task.objects.all().delete()
    assert total("attempts", "echo", kind) == 2


@pytest.mark.parametrize(
    ("kind", "allowed_by"),
    [(K.ERROR, "error"), (K.TIMEOUT, "timeout"), (K.CRASH, "crash"), (K.OOM, "crash"), (K.BAD_REPLY, "crash")],
)
def test_only_what_retry_on_names_is_retried(kind: OutcomeKind, allowed_by: str) -> None:
    for words, expected in ((frozenset({allowed_by}), "pending"), (ALWAYS - {allowed_by}, "failed")):
        policy = Policy(timeout=5.0, max_retries=3, retry_backoff=0.0, retry_on=words)
        assert verdict(kind, 0, policy).status == expected


def test_a_lost_worker_is_retried_whatever_retry_on_says_and_at_once() -> None:
    patient = Policy(timeout=5.0, max_retries=1, retry_backoff=60.0, retry_on=frozenset())
    assert verdict(K.WORKER_LOST, 0, patient) == Verdict("pending", pause=0.0, spent=1)


def test_an_error_that_retry_on_excludes_is_the_handlers_error() -> None:
    assert verdict(K.ERROR, 0, NEVER, retryable=True) == Verdict("failed", "handler_error")


@pytest.mark.parametrize("kind", [K.TIMEOUT, K.CRASH, K.OOM, K.BAD_REPLY])
def test_what_a_handler_says_of_its_errors_is_said_of_nothing_else(kind: OutcomeKind) -> None:
    assert verdict(kind, 0, AT_ONCE, retryable=False).status == "pending"


def test_a_release_spends_nothing_and_waits_for_nothing() -> None:
    assert verdict(K.RELEASED, 3, AT_ONCE) == Verdict("pending", pause=0.0, spent=0)


@pytest.mark.parametrize(("retry", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (5000, 60.0)])
def test_the_pause_doubles_with_full_jitter_up_to_a_minute(retry: int, longest: float) -> None:
    pauses = [pause_before(retry, 0.5) for _ in range(300)]
    assert 0.0 <= min(pauses) < 0.2 * longest
    assert 0.8 * longest < max(pauses) <= longest <= LONGEST_PAUSE


def test_no_backoff_is_a_retry_at_once() -> None:
    assert pause_before(9, 0.0) == 0.0


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_the_budget_is_one_of_retries_so_it_allows_one_execution_more(budget: int) -> None:
    policy = Policy(timeout=5.0, max_retries=budget, retry_backoff=0.0, retry_on=ALWAYS)
    task = running(policy)
    for number in range(1, budget + 1):
        settle("node", [Ended(task, K.TIMEOUT, error="slow")])
        [task] = take(policy=policy)
        assert (task.attempt, task.retries) == (number + 1, number)
    settle("node", [Ended(task, K.TIMEOUT, error="slow")])
    assert (row(task).failure_reason, row(task).attempts) == ("timeout", budget + 1)
    assert tries(task) == [(number, "timeout") for number in range(1, budget + 2)]
    assert (total("retried", "echo"), total("failed", "echo", "timeout")) == (budget, 1)
