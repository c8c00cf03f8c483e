"""What happens to a task when an attempt ends: completed, failed, or retried, and when. One function decides."""

from __future__ import annotations

import random

from tasks_app.queue.attempt import COMPLETED, AttemptResult, Policy, RetryDecision
from tasks_app.queue.models import FailureReason, OutcomeKind, Status
from tasks_app.runner.backoff import Backoff

MAX_PAUSE_SECONDS = 60.0

#: The word of `retry_on` that an outcome counts as. A lost worker is retried whatever `retry_on` says.
_RETRIED_AS = {
    OutcomeKind.ERROR: "error",
    OutcomeKind.TIMEOUT: "timeout",
    OutcomeKind.CRASH: "crash",
    OutcomeKind.OOM: "crash",
    OutcomeKind.BAD_REPLY: "crash",
}

_AGAIN = RetryDecision(Status.PENDING.value)
_SUCCESS = OutcomeKind.SUCCESS


def pause_before(retry: int, backoff: float) -> float:
    """Seconds before retry `retry` (1 is the first): backoff x 2^(n-1), at most 60, full jitter."""
    return random.uniform(0.0, Backoff(backoff, MAX_PAUSE_SECONDS, retry).pause)


def decide_result(result: AttemptResult) -> RetryDecision:
    """Decide what follows a claimed attempt's result."""
    if result.pause:
        return RetryDecision(Status.PENDING.value, pause=result.pause)
    return decide(result.kind, result.task.retries, result.task.policy, result.retryable)


def decide(kind: OutcomeKind, retries: int, policy: Policy, retryable: bool = True) -> RetryDecision:
    """Decide what follows an attempt that ended as `kind`, with `retries` already spent.

    `retryable` is the handler's own statement about its error; False also for a result that cannot be stored.
    """
    if kind is _SUCCESS:
        return COMPLETED
    if kind == OutcomeKind.RELEASED:
        return _AGAIN
    lost = kind == OutcomeKind.WORKER_LOST
    allowed = lost or (retryable and _RETRIED_AS[kind] in policy.retry_on)
    if allowed and retries < policy.max_retries:
        # A task whose node died has already waited for the end of a lease.
        pause = 0.0 if lost else pause_before(retries + 1, policy.retry_backoff)
        return RetryDecision(Status.PENDING.value, pause=pause, spent=1)
    if kind == OutcomeKind.ERROR:
        reason = FailureReason.RETRIES_EXHAUSTED if allowed else FailureReason.HANDLER_ERROR
        return RetryDecision(Status.FAILED.value, reason.value)
    return RetryDecision(Status.FAILED.value, FailureReason(kind.value).value)
