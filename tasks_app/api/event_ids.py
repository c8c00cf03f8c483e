"""The ids of the events of a task: `attempt.sequence`.

Every web process gives an event the same id, because an id follows from what is stored. Within an attempt the sequence
is 0 for its start, then that of its live events. What happens between two attempts has large sequences.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

#: The first sequence of events that are made from the log in an attempt's row, and that of `pending` after an attempt.
#: A final state has the microseconds of its end since 1970, and larger ones; `end` has one more.
FROM_ROW, PENDING = 500_000_000, 1_000_000_000

#: The form of an id, for the OpenAPI document; a blank stands for none.
PATTERN = r"^([0-9]{1,9}\.[0-9]{1,17})?$"
_ID = re.compile(r"([0-9]{1,9})\.([0-9]{1,17})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventId(NamedTuple):
    """The id of an event. A `sequence` of -1 is no event's: it is before the first one of the attempt."""

    attempt: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.attempt}.{self.sequence}"


#: Before the first event.
BEGINNING = EventId(0, -1)


def parse(text: str) -> EventId | None:
    """The id of a text; None if it has not the form of one."""
    if (match := _ID.fullmatch(text)) is None:
        return None
    return EventId(int(match[1]), int(match[2]))


def pending_after(attempt: int) -> EventId:
    """The id of `pending` after this attempt; 0: of a task that was never started."""
    return EventId(attempt, PENDING if attempt else 0)


def final_after(attempt: int, completed_at: datetime) -> EventId:
    """The id of the final status after this attempt."""
    return EventId(attempt, PENDING + 1 + max((completed_at - _EPOCH) // timedelta(microseconds=1), 0))


def end_after(attempt: int, completed_at: datetime) -> EventId:
    """The id of `end` after this attempt."""
    status = final_after(attempt, completed_at)
    return status._replace(sequence=status.sequence + 1)
