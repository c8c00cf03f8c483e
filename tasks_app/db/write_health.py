"""Whether the database takes writes, as far as this process knows: reads may work while every write fails."""

from __future__ import annotations

import time
from collections.abc import Callable

#: What SQLite and PostgreSQL report when the disk is full.
DISK_FULL_ERRORS = ("disk is full", "No space left on device", "Disk quota exceeded")
MAX_REASON_CHARACTERS = 200


class WriteHealth:
    """Unhealthy from a write that the database refuses until the next one that it takes. From any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failing: tuple[float, str] | None = None  # since when, and the last reason

    def failed(self, error: Exception) -> None:
        """A write failed for a reason unrelated to its content."""
        since = self._clock() if self._failing is None else self._failing[0]
        self._failing = since, (str(error).splitlines() or ["no reason given"])[0][:MAX_REASON_CHARACTERS]

    def succeeded(self) -> None:
        """A write succeeded."""
        if self._failing is not None:
            self._failing = None

    @property
    def problem(self) -> str | None:
        """What is wrong and what follows, in a sentence; None while writes succeed."""
        if (failing := self._failing) is None:
            return None
        since, reason = failing
        fault = f"has taken no writes for {self._clock() - since:.0f} s ({reason})"
        if any(words in reason for words in DISK_FULL_ERRORS):
            return (
                f"the database {fault}: its disk is full; make room there. Until then new tasks are refused with 503 "
                "and results wait in their workers; accepted tasks are kept"
            )
        return f"the database {fault}: new tasks are refused with 503 and results wait in their workers"


#: For this process, which has one database.
write_health = WriteHealth()
