"""What this process knows of a database that takes no writes: reads may go on, and then nobody else would be told."""

from __future__ import annotations

import time
from collections.abc import Callable

#: What SQLite and PostgreSQL say of a disk without room.
FULL = ("disk is full", "No space left on device", "Disk quota exceeded")
#: Longest text that is taken over from a database, in characters.
LONGEST = 200


class WriteTrouble:
    """Begins with a write that the database refuses, ends with the next one that it takes. From any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now: tuple[float, str] | None = None

    def note(self, error: Exception) -> None:
        """A write has failed, and it was not what it said."""
        since = self._clock() if self._now is None else self._now[0]
        self._now = since, (str(error).splitlines() or ["no reason given"])[0][:LONGEST]

    def over(self) -> None:
        """A write was taken."""
        if self._now is not None:
            self._now = None

    @property
    def problem(self) -> str | None:
        """What is wrong and what follows, in a sentence; None while writes are taken."""
        if (now := self._now) is None:
            return None
        since, said = now
        what = f"takes no writes for {self._clock() - since:.0f} s ({said})"
        if any(words in said for words in FULL):
            return (
                f"the database {what}: its disk is full; make room there. Until then new tasks are refused with 503 "
                "and results wait in their workers; what was accepted is kept"
            )
        return f"the database {what}: new tasks are refused with 503 and results wait in their workers"


#: Of this process: it has one database.
write_trouble = WriteTrouble()
