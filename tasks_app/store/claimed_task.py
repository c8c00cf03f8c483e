"""What a claim asks for, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from tasks_app.models import Task

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

    `sent_at`: when the claim was sent, on this process's monotonic clock. `started_at`: as SQLite stores it; the settle
    copies it into the attempt's row without reading the task's.
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
    sent_at: float | None = None
    started_at: str | None = None

    @property
    def known_wait(self) -> float | None:
        """`wait`; None if the clock was set back in between."""
        return self.wait if self.wait >= 0.0 else None
