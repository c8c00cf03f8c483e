"""What the contract says must have become of a task, told from its attempts alone; nothing of the platform is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SPENDS = ("error", "timeout", "crash", "oom", "bad_reply", "worker_lost")


@dataclass
class Lives:
    """`status`, `reason` and `retries` (spent in this life) are what the row must say. `ends`: the number and moment
    of each attempt that ended a life; all but the last were followed by a redrive. `fault`: what no history may have.
    """

    status: str = "pending"
    reason: str | None = None
    retries: int = 0
    retried: int = 0
    ends: list[tuple[int, float]] = field(default_factory=list)
    fault: str | None = None

    @property
    def redrives(self) -> int:
        """How many it must have had."""
        return len(self.ends) - (self.status in ("completed", "failed"))


def lives_of(attempts: Sequence[dict[str, Any]], budget: int, refused: bool) -> Lives:
    """Contract section 5, attempt by attempt. `refused`: whether an error of this task's handler is not retryable."""
    lives = Lives()
    for attempt in attempts:
        outcome = attempt["outcome"]
        if lives.status == "completed":
            lives.fault = f"attempt {attempt['number']} ended ({outcome}) after the task was completed"
        if lives.status == "failed":
            lives.status, lives.reason, lives.retries = "pending", None, 0
        if outcome == "success":
            lives.status = "completed"
        elif outcome in SPENDS:
            if not (outcome == "error" and refused) and lives.retries < budget:
                lives.retries += 1
                lives.retried += 1
            else:
                lives.status, lives.reason = "failed", _reason(outcome, refused)
        elif outcome != "released":
            lives.fault = f"attempt {attempt['number']} came to {outcome}, which nobody asked for"
        if lives.status != "pending":
            lives.ends.append((attempt["number"], attempt["ended_at"]))
    return lives


def _reason(outcome: str, refused: bool) -> str:
    if outcome == "error":
        return "handler_error" if refused else "retries_exhausted"
    return outcome
