"""An attempt: what a claim asks for and returns, how it ended, and what follows for its task."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from tasks_app.queue.models import FailureReason, Status, Task
from tasks_app.runner.backoff import Backoff
from tasks_app.runner.endings import OutcomeKind

#: Which of a type's ready tasks is the best: the oldest, the newest, or the oldest of the highest priority.
Selection = Literal["fifo", "lifo", "priority"]


@dataclass(frozen=True)
class Policy:
    """The rules of one attempt; the claim copies them onto the row. Seconds; `retry_on` has error, timeout, crash."""

    timeout: float
    max_retries: int
    retry_backoff: float
    retry_on: frozenset[str]

    @classmethod
    def of(cls, task: Task) -> Policy:
        """The rules that a claim has copied onto the row."""
        return cls(
            timeout=task.timeout or 0.0,
            max_retries=task.max_retries or 0,
            retry_backoff=task.retry_backoff or 0.0,
            retry_on=frozenset(word for word in task.retry_on.split(",") if word),
        )

    def requested(self, timeout: float | None, max_retries: int | None) -> Policy:
        """The same rules with a task's own values; None: it has none."""
        if timeout in (None, self.timeout) and max_retries in (None, self.max_retries):
            return self
        return replace(
            self,
            timeout=self.timeout if timeout is None else timeout,
            max_retries=self.max_retries if max_retries is None else max_retries,
        )

    @cached_property
    def retry_on_text(self) -> str:
        """`retry_on` as the row stores it."""
        return ",".join(sorted(self.retry_on))


class ClaimRequest(NamedTuple):
    """At most `count` tasks of a type, to run under `policy`."""

    task_type: str
    count: int  # type: ignore[assignment]  # hides tuple.count
    policy: Policy


class ClaimedTask(NamedTuple):
    """One claimed attempt. `task_data` is JSON text on one line, None if it has to be read alone (`data_of`); `wait` is
    seconds from ready to claimed.

    `claim_sent_at`: when the claim was sent, on this process's monotonic clock. `started_at`: as SQLite stores it; the
    settle copies it into the attempt's row without reading the task's. `followed`: its row said so at the claim; it may
    be followed since (`queue/followed.py`). `permit`: it may have one (`queue/gates.py`).
    """

    id: str
    task_type: str
    task_data: str | None
    attempt: int
    priority: int
    position: int
    retries: int
    wait: float
    policy: Policy
    claim_sent_at: float | None = None
    started_at: str | None = None
    followed: bool = False
    permit: bool = False

    @property
    def in_log(self) -> dict[str, Any]:
        """The fields of this attempt in a line of the log."""
        return {"task_id": self.id, "handler": self.task_type, "attempt": self.attempt}

    @property
    def known_wait(self) -> float | None:
        """`wait`; None if the clock was set back in between."""
        return self.wait if self.wait >= 0.0 else None


# What follows when an attempt ends: completed, failed, or retried, and when.

MAX_RETRY_DELAY_SECONDS = 60.0

#: The word of `retry_on` that an outcome counts as. A lost worker is retried whatever `retry_on` says.
_RETRIED_AS = {
    OutcomeKind.ERROR: "error",
    OutcomeKind.TIMEOUT: "timeout",
    OutcomeKind.CRASH: "crash",
    OutcomeKind.OOM: "crash",
    OutcomeKind.BAD_REPLY: "crash",
}


@dataclass(frozen=True)
class RetryDecision:
    """A task's next status and failure reason.

    `delay`: seconds until it is ready again; `spent`: retries that this result uses.
    """

    status: str
    reason: str | None = None
    delay: float = 0.0
    spent: int = 0

    @property
    def at_once(self) -> bool:
        """Whether the task is ready again now."""
        return self.status == Status.PENDING.value and not self.delay


#: Follows every success.
COMPLETED = RetryDecision(Status.COMPLETED.value)


def delay_before(retry: int, backoff: float) -> float:
    """Seconds before retry `retry` (1 is the first): backoff x 2^(n-1), at most 60, full jitter."""
    return random.uniform(0.0, Backoff(backoff, MAX_RETRY_DELAY_SECONDS, retry).pause)


def decide_retry(
    kind: OutcomeKind, retries: int, policy: Policy, retryable: bool = True, retry_in: float | None = None
) -> RetryDecision:
    """Decide what follows an attempt that ended as `kind`, with `retries` already spent.

    `retryable` is the handler's own statement about its error; False also for a result that cannot be stored.
    `retry_in`: the seconds that its handler asks for in place of the backoff.
    """
    if kind is OutcomeKind.SUCCESS:
        return COMPLETED
    if kind == OutcomeKind.RELEASED:
        return RetryDecision(Status.PENDING.value)
    lost = kind == OutcomeKind.WORKER_LOST
    allowed = lost or (retryable and _RETRIED_AS[kind] in policy.retry_on)
    if allowed and retries < policy.max_retries:
        if retry_in is None:
            # A task whose node died has already waited for the end of a lease.
            retry_in = 0.0 if lost else delay_before(retries + 1, policy.retry_backoff)
        return RetryDecision(Status.PENDING.value, delay=retry_in, spent=1)
    if kind == OutcomeKind.ERROR:
        reason = FailureReason.RETRIES_EXHAUSTED if allowed else FailureReason.HANDLER_ERROR
        return RetryDecision(Status.FAILED.value, reason.value)
    return RetryDecision(Status.FAILED.value, FailureReason(kind.value).value)


# How an attempt ended.


class _Facts(NamedTuple):  # apart, because a NamedTuple has no place to remember a decision
    """The facts of an attempt that ended."""

    task: ClaimedTask
    kind: OutcomeKind
    #: JSON text.
    result: str | None = None
    error: str | None = None
    #: What the handler says of its error; False also for a result that cannot be stored.
    retryable: bool = True
    container: str = ""
    #: The id of the container's image.
    image: str | None = None
    #: What ran, see runner/revision; None: nothing did.
    revision: str | None = None
    exit_code: int | None = None
    #: Whether the engine reported it; None if no engine can.
    oom: bool | None = None
    #: From the task's line to the reply.
    seconds: float | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""
    #: For a release that the handler caused: the attempt's kind once the task was released too often in a row.
    handler_fault: OutcomeKind | None = None
    #: Its node knows that no handler can have begun it: nothing of its line was read, or its end was never sent.
    unread: bool = False
    #: When a container of the type last answered on that node, on its monotonic clock; None: never.
    answered_at: float | None = None
    #: Another verb ended the attempt and the container was stopped for it; only the log is kept.
    ended_by_verb: bool = False
    #: The seconds after `seconds` in which the handler could clean up.
    stopping: float = 0.0
    #: The live events that are not known to be stored, if the attempt has any.
    live: LiveEvents | None = None
    #: Bytes of the result once it is stored; None without one.
    result_size: int | None = None
    #: After a release: the seconds until the task is ready again.
    pause: float = 0.0
    #: After an error: the seconds until the retry that the handler asks for; None: the backoff decides.
    retry_in: float | None = None


class AttemptResult(_Facts):
    """How one claimed attempt ended (see _Facts), and what follows for its task."""

    @cached_property
    def decision(self) -> RetryDecision:
        """What follows: decided once, and anew for a result that `_replace` makes."""
        if self.pause:
            return RetryDecision(Status.PENDING.value, delay=self.pause)
        return decide_retry(self.kind, self.task.retries, self.task.policy, self.retryable, self.retry_in)

    @property
    def makes_ready(self) -> bool:
        """Whether its task is ready again at once."""
        return self.kind is not OutcomeKind.SUCCESS and not self.ended_by_verb and self.decision.at_once

    @property
    def bytes_to_write(self) -> int:
        """The bytes that a settle writes for it, besides some hundred."""
        return (self.result_size or 0) + len(self.error or "") + len(self.stdout_tail) + len(self.stderr_tail)

    def without_result(self, kind: OutcomeKind, error: str | None = None) -> AttemptResult:
        """The same attempt, ended as `kind` and finally, without its result."""
        return self._replace(kind=kind, error=error, result=None, result_size=None, retryable=False)


#: An attempt that ended, and what follows.
Settled = tuple[AttemptResult, RetryDecision]


# The live events of a running attempt, as rows to be stored.

#: Task id, attempt, sequence, kind, body, container.
Row = tuple[str, int, int, str, dict[str, Any], str | None]


class LiveEvents(NamedTuple):
    """Events of one attempt that follow each other: (kind, body). `first`: the sequence of the first one, from 1."""

    task_id: str
    attempt: int
    first: int
    events: Sequence[tuple[str, dict[str, Any]]]
    container: str = ""


def rows_of(batches: Sequence[LiveEvents]) -> Iterator[Row]:
    """The rows of some attempts. They are sorted, so that two transactions with the same rows do not deadlock."""
    for batch in sorted(batches, key=lambda each: (each.task_id, each.attempt)):
        for sequence, (kind, body) in enumerate(batch.events, batch.first):
            container = batch.container[:100] if sequence == 1 else None
            yield batch.task_id, batch.attempt, sequence, kind, body, container
