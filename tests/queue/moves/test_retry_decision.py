"""What follows each outcome, for the decision and for a settle."""

from __future__ import annotations

import pytest

from tasks_app.queue.attempt import (
    MAX_RETRY_DELAY_SECONDS,
    Policy,
    RetryDecision,
    decide_retry,
    delay_before,
)
from tasks_app.queue.models import Attempt
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import ALWAYS, AT_ONCE, NO_RETRY, SLOW_RETRY, failure, row, running

pytestmark = pytest.mark.django_db

K = OutcomeKind
NEVER = Policy(timeout=5.0, max_retries=3, retry_backoff=0.0, retry_on=frozenset())
# outcome, whether the handler called it retryable, with retries left, without
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
ROWS = pytest.mark.parametrize(("kind", "retryable", "with_retries", "without"), TABLE, ids=lambda value: str(value))


def word(decision: RetryDecision) -> str:
    """The reason of a failure, otherwise the status."""
    return str(decision.reason or decision.status)


@ROWS
def test_the_decision_follows_the_table(kind: OutcomeKind, retryable: bool, with_retries: str, without: str) -> None:
    assert word(decide_retry(kind, 0, AT_ONCE, retryable)) == with_retries
    assert word(decide_retry(kind, 2, AT_ONCE, retryable)) == with_retries
    assert word(decide_retry(kind, 3, AT_ONCE, retryable)) == without
    assert word(decide_retry(kind, 0, NO_RETRY, retryable)) == without


@pytest.mark.parametrize(
    ("kind", "allowed_by"),
    [(K.ERROR, "error"), (K.TIMEOUT, "timeout"), (K.CRASH, "crash"), (K.OOM, "crash"), (K.BAD_REPLY, "crash")],
)
def test_only_what_retry_on_names_is_retried(kind: OutcomeKind, allowed_by: str) -> None:
    for words, expected in ((frozenset({allowed_by}), "pending"), (ALWAYS - {allowed_by}, "failed")):
        policy = Policy(timeout=5.0, max_retries=3, retry_backoff=0.0, retry_on=words)
        assert decide_retry(kind, 0, policy).status == expected


def test_a_lost_worker_is_retried_whatever_retry_on_says_and_at_once() -> None:
    patient = Policy(timeout=5.0, max_retries=1, retry_backoff=60.0, retry_on=frozenset())
    assert decide_retry(K.WORKER_LOST, 0, patient) == RetryDecision("pending", delay=0.0, spent=1)


def test_an_error_that_retry_on_excludes_is_the_handlers_error() -> None:
    assert decide_retry(K.ERROR, 0, NEVER, retryable=True) == RetryDecision("failed", "handler_error")


@pytest.mark.parametrize("kind", [K.TIMEOUT, K.CRASH, K.OOM, K.BAD_REPLY])
def test_what_is_not_retryable_is_not_retried_and_fails_for_its_own_reason(kind: OutcomeKind) -> None:
    assert decide_retry(kind, 0, AT_ONCE, retryable=False) == RetryDecision("failed", kind.value)


def test_a_release_spends_no_retry_and_has_no_pause() -> None:
    assert decide_retry(K.RELEASED, 3, AT_ONCE) == RetryDecision("pending", delay=0.0, spent=0)


@pytest.mark.parametrize(("retry", "most"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (5000, 60.0)])
def test_the_pause_doubles_with_full_jitter_up_to_a_minute(retry: int, most: float) -> None:
    pauses = [delay_before(retry, 0.5) for _ in range(300)]
    assert 0.0 <= min(pauses) < 0.2 * most
    assert 0.8 * most < max(pauses) <= most <= MAX_RETRY_DELAY_SECONDS


@pytest.mark.parametrize("seconds", [0.0, 90.0, 86_400.0])
def test_a_pause_that_the_handler_asks_for_takes_the_place_of_the_backoff(seconds: float) -> None:
    decision = decide_retry(K.ERROR, 1, SLOW_RETRY, retry_in=seconds)
    assert decision == RetryDecision("pending", delay=seconds, spent=1)
    task = running(SLOW_RETRY)
    settle("node", [failure(task, retry_in=seconds)])
    now = row(task)
    assert (now.status, now.retries, now.due is None) == ("pending", 1, seconds == 0)
    if now.due_at:
        [attempt] = Attempt.objects.all()
        assert (now.due_at - attempt.ended_at).total_seconds() == seconds


def test_a_pause_brings_back_no_task_without_retries_or_that_retry_on_excludes() -> None:
    assert decide_retry(K.ERROR, 3, AT_ONCE, retry_in=60.0) == RetryDecision("failed", "retries_exhausted")
    assert decide_retry(K.ERROR, 0, NEVER, retry_in=60.0) == RetryDecision("failed", "handler_error")


def test_no_backoff_is_a_retry_at_once() -> None:
    assert delay_before(9, 0.0) == 0.0
