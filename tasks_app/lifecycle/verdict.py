"""What becomes of a task when an attempt of it ends: the table of contract section 5, as one function."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tasks_app.lifecycle.claimed import Policy
from tasks_app.models import FailureReason, OutcomeKind, Status

#: No pause before a retry is longer, in seconds.
LONGEST_PAUSE = 60.0

#: The word of `retry_on` that an outcome falls under. A lost worker is nobody's choice: always retried.
_RETRIED_AS = {
    OutcomeKind.ERROR: "error",
    OutcomeKind.TIMEOUT: "timeout",
    OutcomeKind.CRASH: "crash",
    OutcomeKind.OOM: "crash",
    OutcomeKind.BAD_REPLY: "crash",
}


@dataclass(frozen=True)
class Verdict:
    """Where the task goes, in the row's words.

    `pause`: seconds until it is ready again; `spent`: retries used up by this end.
    """

    status: str
    reason: str | None = None
    pause: float = 0.0
    spent: int = 0

    @property
    def at_once(self) -> bool:
        """Whether it is ready again now."""
        return self.status == Status.PENDING.value and not self.pause


#: Of every success.
COMPLETED = Verdict(Status.COMPLETED.value)
_AGAIN = Verdict(Status.PENDING.value)
_SUCCESS = OutcomeKind.SUCCESS


def pause_before(retry: int, backoff: float) -> float:
    """Seconds before retry `retry` (1 is the first): backoff x 2^(n-1), at most 60, full jitter."""
    return random.uniform(0.0, min(backoff * 2.0 ** min(retry - 1, 30), LONGEST_PAUSE))


def verdict(kind: OutcomeKind, retries: int, policy: Policy, retryable: bool = True) -> Verdict:
    """What follows an attempt that ended as `kind` with `retries` already spent.

    `retryable` is what the handler said of its own error.
    """
    if kind is _SUCCESS:
        return COMPLETED
    if kind == OutcomeKind.RELEASED:
        return _AGAIN
    lost = kind == OutcomeKind.WORKER_LOST
    refused = kind == OutcomeKind.ERROR and not retryable
    allowed = lost or (not refused and _RETRIED_AS[kind] in policy.retry_on)
    if allowed and retries < policy.max_retries:
        # A task whose node died has waited out a lease already.
        pause = 0.0 if lost else pause_before(retries + 1, policy.retry_backoff)
        return Verdict(Status.PENDING.value, pause=pause, spent=1)
    if kind == OutcomeKind.ERROR:
        reason = FailureReason.RETRIES_EXHAUSTED if allowed else FailureReason.HANDLER_ERROR
        return Verdict(Status.FAILED.value, reason.value)
    return Verdict(Status.FAILED.value, FailureReason(kind.value).value)
