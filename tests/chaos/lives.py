"""A task's state by the contract, computed from its attempts, without the platform's code.

If a task was cancelled or expired while it was pending, no attempt says so: then the row is believed, and other rules
check that it was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Outcomes that spend a retry.
SPENDS_RETRY = ("error", "timeout", "crash", "oom", "bad_reply", "worker_lost")


@dataclass
class Lives:
    """The expected row: `status`, `reason` and `retries` (of this life). `ends`: number and moment of each attempt that
    ended a life, or the last one before; a redrive follows each but the last. `fault`: what is impossible in this
    history.
    """

    status: str = "pending"
    reason: str | None = None
    retries: int = 0
    retried: int = 0
    ends: list[tuple[int, float]] = field(default_factory=list)
    fault: str | None = None

    @property
    def redrives(self) -> int:
        """The expected number of redrives."""
        return len(self.ends) - (self.status in ("completed", "failed"))


def lives_of(attempts: Sequence[dict[str, Any]], budget: int, refused: bool) -> Lives:
    """What must follow each outcome, attempt by attempt. `refused`: errors of this task's handler are not retryable."""
    lives = Lives()
    for attempt in attempts:
        outcome = attempt["outcome"]
        if lives.status == "completed":
            lives.fault = f"attempt {attempt['number']} ended ({outcome}) after the task was completed"
        if lives.status == "failed":
            lives.status, lives.reason, lives.retries = "pending", None, 0
        if outcome == "success":
            lives.status = "completed"
        elif outcome in SPENDS_RETRY:
            if not (outcome == "error" and refused) and lives.retries < budget:
                lives.retries += 1
                lives.retried += 1
            else:
                lives.status, lives.reason = "failed", _reason(outcome, refused)
        elif outcome == "cancelled":
            lives.status, lives.reason = "failed", "cancelled"
        elif outcome != "released":
            lives.fault = f"attempt {attempt['number']} came to {outcome}, which is unexpected"
        if lives.status != "pending":
            lives.ends.append((attempt["number"], attempt["ended_at"]))
    return lives


def end_between(lives: Lives, reason: str, number: int, at: float) -> None:
    """Continue with an end while the task was pending, after `number` attempts."""
    if lives.status == "completed":
        lives.fault = f"was {reason} after it was completed"
    if lives.status == "failed":
        lives.retries = 0  # it was redriven
    lives.status, lives.reason = "failed", reason
    lives.ends.append((number, at))


def _reason(outcome: str, refused: bool) -> str:
    if outcome == "error":
        return "handler_error" if refused else "retries_exhausted"
    return outcome
