"""Whether the database takes writes, as far as this process knows: reads may work while every write fails."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import OperationalError

#: What SQLite and PostgreSQL report when the disk is full.
DISK_FULL_ERRORS = ("disk is full", "No space left on device", "Disk quota exceeded")
MAX_REASON_CHARACTERS = 200
#: On a full disk some writes still find room. So the disk counts as full for so long after the last refusal.
FULL_SECONDS = 10.0


class WriteRefused(OperationalError):
    """The database refused a write but still answers reads. The transaction had no effect."""


class WriteHealth:
    """Unhealthy from a write that the database refuses until the next write that it takes. Thread-safe.

    On a full disk: until a write that it takes FULL_SECONDS after the last refusal.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Since when writes fail, and the last reason; None while they succeed.
        self.failing: tuple[float, str] | None = None
        self._full_until = 0.0

    def failed(self, error: Exception) -> None:
        """A write failed for a reason unrelated to its content."""
        now, reason = self._clock(), first_line(error)
        since = now if self.failing is None else self.failing[0]
        self._full_until = now + FULL_SECONDS if is_full(reason) else 0.0
        self.failing = since, reason

    def succeeded(self) -> None:
        """A write succeeded."""
        if self._clock() >= self._full_until:
            self.failing = None

    @property
    def problem(self) -> str | None:
        """The fault and its effect, in a sentence; None while writes succeed."""
        if (failing := self.failing) is None:
            return None
        since, reason = failing
        seconds = f"{self._clock() - since:.0f} s ({reason})"
        if is_full(reason):
            return (
                f"the database has refused writes for {seconds}: its disk is full; make room there. Until then new "
                "tasks are refused with 503 and results wait in their workers; accepted tasks are kept"
            )
        return (
            f"the database has taken no writes for {seconds}: "
            "new tasks are refused with 503 and results wait in their workers"
        )


def first_line(error: Exception) -> str:
    """The database's reason, without its hints, cut to 200 characters."""
    return (str(error).splitlines() or ["no reason given"])[0][:MAX_REASON_CHARACTERS]


def is_full(reason: str) -> bool:
    """Whether a database's reason is a full disk."""
    return any(words in reason for words in DISK_FULL_ERRORS)


#: For this process, which has one database.
write_health = WriteHealth()
