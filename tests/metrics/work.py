"""Short forms of what nodes and clients do."""

from __future__ import annotations

from collections.abc import Sequence

from tasks_app.queue.attempt import AttemptResult, ClaimedTask, ClaimRequest, Policy
from tasks_app.queue.claim import claim
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from tasks_app.runner.endings import OutcomeKind

#: Retried at once, twice.
POLICY = Policy(timeout=30.0, max_retries=2, retry_backoff=0.0, retry_on=frozenset({"error", "timeout", "crash"}))


def submit(count: int, name: str = "echo") -> list[str]:
    """Submit tasks. Returns their ids."""
    return [str(identity) for identity in submit_many([NewTask(name)] * count)]


def take(count: int, name: str = "echo", node: str = "node-1", policy: Policy = POLICY) -> list[ClaimedTask]:
    """Claim tasks."""
    return claim(node, [ClaimRequest(name, count, policy)], "fifo")


def end(
    tasks: Sequence[ClaimedTask], kind: OutcomeKind = OutcomeKind.SUCCESS, seconds: float = 0.02, node: str = "node-1",
    retryable: bool = True,
) -> set[tuple[str, int]]:  # fmt: skip
    """Settle all of these tasks with the same outcome."""
    result, error = ("1", None) if kind == OutcomeKind.SUCCESS else (None, str(kind))
    return settle(node, [AttemptResult(task, kind, result, error, retryable, seconds=seconds) for task in tasks])
