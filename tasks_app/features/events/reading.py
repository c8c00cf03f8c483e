"""The events of a task: their ids, `attempt.sequence`, and their text after one of them.

Every web process gives an event the same id, because an id follows from what is stored. Within an attempt the sequence
is 0 for its start, then that of its live events. What happens between two attempts has large sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.utils import timezone

from tasks_app.api.errors import dump
from tasks_app.queue.models import FINAL, Attempt, LiveEvent, Status, Task
from tasks_app.runner.endings import OutcomeKind

#: The first sequence of events that are made from the log in an attempt's row, and that of `pending` after an attempt.
#: A final state has the microseconds of its end since 1970, and larger ones; `end` has one more.
FROM_ROW, PENDING = 500_000_000, 1_000_000_000

#: The form of an id, for the OpenAPI document. In a header, and in an event, a blank stands for none.
PATTERN = r"^[0-9]{1,9}\.[0-9]{1,17}$"
OPTIONAL_PATTERN = r"^([0-9]{1,9}\.[0-9]{1,17})?$"
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


# The text, which is that of Server-Sent Events.

#: No event is added to a text of so many bytes.
CHUNK_BYTES = 32 * 1024
#: Live events that one reading takes.
MAX_LIVE_EVENTS = 200
#: Characters of a log in one event, if the log comes from the attempt's row.
PIECE_CHARACTERS = 8 * 1024
#: A node may write the last live events and the log of an attempt so many seconds after its end.
LATE_SECONDS = 5.0

_TASK_FIELDS = ("status", "attempts", "node", "started_at", "completed_at", "due_at", "failure_reason", "last_error")
_ATTEMPT_FIELDS = ("node", "started_at", "ended_at", "outcome", "error", "container", "stdout_tail", "stderr_tail")


@dataclass(frozen=True)
class Events:
    """`text` of some events. `last`: where the next reading goes on.

    `more`: further events are stored. `late`: there will be further ones, though no version tells. `ended`: no further
    ones come, unless the task is redriven.
    """

    text: bytes
    last: EventId
    more: bool = False
    late: bool = False
    ended: bool = False


def read_events(task: UUID, after: EventId) -> Events:
    """The events after `after`, up to about CHUNK_BYTES. Raises DatabaseError."""
    row = Task.objects.filter(pk=task).values(*_TASK_FIELDS).first()
    if row is None:
        gone = {"status": None, "failure_reason": None, "error": "the task was deleted", "attempts": None}
        return Events(_text("end", None, gone), after, ended=True)
    return _Reading(task, row, after).events()


def has_ended(task: UUID, after: EventId) -> bool:
    """Whether `after` is the id of the `end` of a task."""
    final = Task.objects.filter(pk=task, status__in=FINAL)
    row = final.values_list("attempts", "completed_at").first()
    return row is not None and row[1] is not None and after == end_after(row[0], row[1])


class _Reading:
    """One reading of a task's events. `task`: its row."""

    def __init__(self, identity: UUID, task: dict[str, Any], after: EventId) -> None:
        self._identity, self._task = identity, task
        #: An id of a later attempt than the last one is not from this task, or from before a power cut.
        self._at = after if after.attempt <= task["attempts"] else EventId(task["attempts"], -1)
        self._texts: list[bytes] = []
        self._size = 0
        self._late = self._ended = False

    def events(self) -> Events:
        """All that may be added."""
        finished = self._go()
        more = not (finished or self._late)
        return Events(b"".join(self._texts), self._at, more, self._late, self._ended)

    def _go(self) -> bool:
        """Read on; False if the text is full, or if something comes late."""
        while True:
            attempt, sequence = self._at
            last = attempt == self._task["attempts"]
            running = last and self._task["status"] == Status.PROCESSING
            if running and sequence >= FROM_ROW:
                self._at = EventId(attempt, -1)  # as above
            if attempt and (running or sequence < PENDING):
                if not self._attempt(attempt, running):
                    return False
                if running:
                    return True
            if last:
                return self._between_attempts()
            if self._at.sequence < pending_after(attempt).sequence:
                self._pending(attempt)
            self._at = EventId(attempt + 1, -1)
            if self._full:
                return False

    @property
    def _full(self) -> bool:
        return self._size >= CHUNK_BYTES

    def _add(self, kind: str, at: EventId, data: dict[str, Any]) -> None:
        text = _text(kind, at, data)
        self._texts.append(text)
        self._size += len(text)
        self._at = at

    def _attempt(self, number: int, running: bool) -> bool:
        """The start and the log of an attempt. False if there is more of it."""
        ended = None if running else self._ended_attempt(number)
        shown = self._task if running else ended
        if shown is None:
            return True
        if self._at.sequence < 0:
            started = {"status": Status.PROCESSING, "attempt": number}
            self._add("status", EventId(number, 0), started | {name: shown[name] for name in ("node", "started_at")})
        whole = False
        if self._at.sequence < FROM_ROW:
            whole = self._live(number, running)
            if self._full:
                return False
        return ended is None or whole or self._log_of(number, ended)

    def _ended_attempt(self, number: int) -> dict[str, Any] | None:
        # In this order, or `first` would read along the primary key.
        rows = Attempt.objects.filter(task_id=self._identity, number=number).order_by("number")
        attempt: dict[str, Any] | None = rows.values(*_ATTEMPT_FIELDS).first()
        return attempt

    def _live(self, number: int, running: bool) -> bool:
        """Live events. True if the last one of the attempt was among them."""
        stored = LiveEvent.objects.filter(task_id=self._identity, attempt=number)
        columns = ("sequence", "kind", "body", "at")
        after = self._at.sequence
        rows = list(stored.filter(sequence__gt=after).order_by("sequence").values_list(*columns)[:MAX_LIVE_EVENTS])
        if running and not rows and after and not stored.filter(sequence=after).exists():
            self._at = EventId(number, 0)  # as in `__init__`
            rows = list(stored.order_by("sequence").values_list(*columns)[:MAX_LIVE_EVENTS])
        for sequence, kind, body, at in rows:
            if kind == "end":
                return True
            if self._full:
                return False
            self._add(kind, EventId(number, sequence), {"attempt": number, "at": at, **body})
        if len(rows) == MAX_LIVE_EVENTS:
            self._size = CHUNK_BYTES
        return False

    def _log_of(self, number: int, ended: dict[str, Any]) -> bool:
        """The log of an ended attempt from its row, if its live events are not stored. False if there is more."""
        stored = LiveEvent.objects.filter(task_id=self._identity, attempt=number)
        was_live = stored.exists()
        pieces = [] if was_live else list(_pieces(ended))
        if not pieces and _is_late(ended, was_live) and not stored.filter(kind="end").exists():
            self._late = True
            return False
        again = {"again": True} if 0 < self._at.sequence < FROM_ROW else {}
        for index, (stream, text) in enumerate(pieces, start=FROM_ROW):
            if index <= self._at.sequence:
                continue
            if self._full:
                return False
            self._add("log", EventId(number, index), {"attempt": number, "stream": stream, "text": text, **again})
        return True

    def _pending(self, attempt: int) -> None:
        """The status between an attempt and the next one."""
        last = attempt == self._task["attempts"]
        data = {
            "status": Status.PENDING,
            "attempts": attempt,
            "due_at": self._task["due_at"] if last else None,
        }
        if attempt and (ended := self._ended_attempt(attempt)) is not None:
            data |= {"outcome": ended["outcome"], "error": ended["error"] or None}
        self._add("status", pending_after(attempt), data)

    def _between_attempts(self) -> bool:
        """What the task is after its last attempt, if it has not begun a next one."""
        attempts, status = self._task["attempts"], self._task["status"]
        if status not in FINAL:
            if self._at != pending_after(attempts):
                self._pending(attempts)
            return True
        completed_at: datetime = self._task["completed_at"]
        data = {
            "status": status,
            "attempts": attempts,
            "failure_reason": self._task["failure_reason"],
            "error": self._task["last_error"],
        }
        end = end_after(attempts, completed_at)
        if self._at not in (end, final_after(attempts, completed_at)):
            self._add("status", final_after(attempts, completed_at), data)
        if self._at != end:
            self._add("end", end, data)
        self._ended = True
        return True


def _text(kind: str, at: EventId | None, data: dict[str, Any]) -> bytes:
    """An event's text. JSON has no line ends; what some clients take for one is escaped."""
    shown = dump(data)
    for character in "\x85\u2028\u2029":
        shown = shown.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    identity = "" if at is None else f"id: {at}\n"
    return b"%bevent: %b\ndata: %b\n\n" % (identity.encode(), kind.encode(), shown)


def _pieces(ended: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Streams and texts of an attempt's log, as it is in its row."""
    for stream in ("stdout", "stderr"):
        text = ended[f"{stream}_tail"]
        for begin in range(0, len(text), PIECE_CHARACTERS):
            yield stream, text[begin : begin + PIECE_CHARACTERS]


def _is_late(ended: dict[str, Any], was_live: bool) -> bool:
    """Whether the node may still write the last lines of an attempt. `was_live`: it has written live events, and not
    the last one. Otherwise it writes the log together with the end, unless another process ended the attempt."""
    writes = was_live or (ended["outcome"] == OutcomeKind.CANCELLED and not ended["container"])
    age = (timezone.now() - ended["ended_at"]).total_seconds()
    return writes and ended["outcome"] != OutcomeKind.WORKER_LOST and -LATE_SECONDS < age < LATE_SECONDS
