"""A task in a node's hands, and the policy it was claimed under."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


@dataclass(frozen=True)
class Policy:
    """What holds for one attempt; copied onto the row at the claim. Seconds; `retry_on` of error, timeout, crash."""

    timeout: float
    max_retries: int
    retry_backoff: float
    retry_on: frozenset[str]

    @cached_property
    def retry_on_text(self) -> str:
        """`retry_on` as the row keeps it."""
        return ",".join(sorted(self.retry_on))


def retry_on_of(text: str) -> frozenset[str]:
    """`retry_on` as the row kept it."""
    return frozenset(word for word in text.split(",") if word)


class Claimed(NamedTuple):
    """One claimed attempt. `task_data` is JSON text on one line; `wait` seconds from ready to claimed.

    `sent_at`: when its claim was sent, on this process's monotonic clock. `started_at`: as SQLite's row has it, so that
    the attempt's row can be written without reading it.
    """

    id: str
    task_type: str
    task_data: str
    attempt: int
    priority: int
    place: int
    retries: int
    wait: float
    policy: Policy
    sent_at: float | None = None
    started_at: str | None = None

    @property
    def known_wait(self) -> float | None:
        """`wait`, unless the clock was set back in between."""
        return self.wait if self.wait >= 0.0 else None
