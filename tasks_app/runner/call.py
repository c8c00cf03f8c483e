"""A call: its line, what it writes while it runs, and its result.

The result has the tails of both streams. Who follows a call reads its live output, which begins with the tails so far.
"""

from __future__ import annotations

import codecs
import threading
from typing import Any, Literal, NamedTuple

from tasks_app.runner.endings import NoReply
from tasks_app.runner.no_reply import Fault
from tasks_app.runner.wire import Failure, Success, progress_of

HEAD_BYTES = 16 * 1024
TAIL_BYTES = 48 * 1024
#: Of a tail, and of what is passed on of one call while it runs, both streams together: as text, with its marks. What
#: follows is only counted; the call's tails have its end.
MAX_LOG_BYTES = HEAD_BYTES + TAIL_BYTES
#: The longest mark of a cut, and the most that are in the log of a running call: three of each stream.
MARK_BYTES, MAX_MARKS = 48, 6
#: Of one call. Each says another thing.
MAX_NOTES = 5
#: A line without an end is passed on in parts once it has so many bytes.
MAX_LINE_BYTES = 4 * 1024


class Call(NamedTuple):
    """One line for a handler (see wire.request_line), and the seconds that it has to reply.

    `token` comes back unchanged in the result; `Slot.kill` compares it with ==. `task_id` is the line's: a reply that
    names another task is not a reply to this line.
    """

    line: bytes
    timeout: float
    token: Any = None
    task_id: str = ""


def text_of(data: bytes) -> str:
    """Text that any database can store: invalid UTF-8 and NULs are replaced."""
    return data.decode(errors="replace").replace("\0", "\ufffd")


def _size(data: bytes) -> int:
    """The bytes of its text: what is replaced takes three."""
    return len(data) if data.isascii() and b"\0" not in data else len(text_of(data).encode())


def _beginning(data: bytes, most: int) -> bytes:
    """A beginning whose text has at most so many bytes."""
    data = data[:most]
    while (size := _size(data)) > most:
        data = data[: len(data) * most // size]
    return data


def _end(data: bytes, most: int) -> bytes:
    """An end whose text has at most so many bytes."""
    data = data[max(len(data) - most, 0) :]
    while (size := _size(data)) > most:
        data = data[len(data) - len(data) * most // size :]
    return data


class Tail:
    """Keeps the first 16 KiB and the end of a stream: 64 KiB of text at most, with the mark of what was cut."""

    __slots__ = ("_head", "_rest", "_size")

    def __init__(self) -> None:
        self._head = b""
        self._rest = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        room = HEAD_BYTES - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if len(data) >= TAIL_BYTES:
            self._rest = bytearray(data[-TAIL_BYTES:])
        elif data:
            self._rest += data
            # Only at twice the size: each cut copies 48 KiB.
            if len(self._rest) > 2 * TAIL_BYTES:
                del self._rest[:-TAIL_BYTES]

    def parts(self) -> list[tuple[bytes, int]]:
        """What is kept, in parts: the bytes of each, and how many were cut before it."""
        kept = self._head + self._rest
        if len(kept) == self._size and _size(kept) <= MAX_LOG_BYTES:
            return [(kept, 0)]
        head, rest = _beginning(self._head, HEAD_BYTES), _end(bytes(self._rest), TAIL_BYTES - MARK_BYTES)
        return [(head, 0), (rest, self._size - len(head) - len(rest))]

    def text(self) -> str:
        """Text that any database can store (see `text_of`). A cut is marked."""
        return text_of(b"".join((mark_of(cut).encode() if cut else b"") + data for data, cut in self.parts()))


Stream = Literal["stdout", "stderr"]


def mark_of(cut: int) -> str:
    """What a log has in the place of so many bytes."""
    return f"\n[... {cut} bytes cut ...]\n"


class LogPiece(NamedTuple):
    """A part of a log (`log`: `stream` and `text`, or `stream` and the bytes that were `cut`), a `progress`, or a
    `note` (`text`): why what was written is no reply."""

    kind: str
    body: dict[str, Any]


class Unread(NamedTuple):
    """Pieces in their order. `first`: the number of the first one, counted from 1."""

    first: int
    pieces: list[LogPiece]


class LiveOutput:
    """The output of one call, in numbered pieces. Thread-safe.

    A piece is given out until the reader says that it has it, and never changes. Holds at most MAX_LOG_BYTES, as text
    and with the marks of what was cut.
    """

    def __init__(self, out: Tail | None, err: Tail | None) -> None:
        """`out` and `err` have what the call has written so far."""
        self._lock = threading.Lock()
        self._first = 1
        self._pending: list[LogPiece] = []
        self._room = MAX_LOG_BYTES - MAX_MARKS * MARK_BYTES
        # stderr first: if a call has flooded stdout, its log is worth more.
        self._streams: dict[Stream, _Buffer] = {"stderr": _Buffer(), "stdout": _Buffer()}
        self._progress: dict[str, Any] | None = None
        self._progress_told: dict[str, Any] | None = None
        self._notes: dict[str, str] = {}
        self._notes_told = 0
        if err is not None:
            self._add_tail("stderr", err)
        if out is not None:
            self._add_tail("stdout", out)

    def add(self, stream: Stream, data: bytes) -> None:
        """The call has written this: of stdout whole lines, if it splits them."""
        with self._lock:
            if stream == "stdout" and (progress := progress_of(data)) is not None:
                self._progress = progress
                return
            buffer = self._streams[stream]
            if (size := _size(data)) > self._room:
                # Whole lines, or the beginning of a line that is passed on in parts.
                taken = _beginning(data, self._room)
                lines = taken[: taken.rfind(b"\n") + 1]
                if lines or len(taken) <= MAX_LINE_BYTES:
                    taken = lines
                buffer.cut += len(data) - len(taken)
                data, self._room = taken, 0
            else:
                self._room -= size
            buffer.data += data

    def note(self, fault: Fault) -> None:
        """What was written last is no reply for this reason. Each reason is told once."""
        with self._lock:
            if len(self._notes) < MAX_NOTES:
                self._notes.setdefault(fault.why, f"this is no reply: {fault.shown} ({fault.why})")

    def unread(self, over: bool = False) -> Unread:
        """The pieces that the reader does not have yet. The first time there is at least one.

        While earlier pieces are unread, new output makes none, except if the call is `over`.
        """
        with self._lock:
            if over or not self._pending:
                self._pending += self._collected(over)
            return Unread(self._first, list(self._pending))

    def read(self, number: int) -> None:
        """The reader has all pieces up to this one."""
        with self._lock:
            if number >= self._first:
                del self._pending[: number + 1 - self._first]
                self._first = number + 1

    def _add_tail(self, stream: Stream, tail: Tail) -> None:
        for data, cut in tail.parts():
            if cut:
                self._pending += self._collected(over=True)
                self._pending.append(LogPiece("log", {"stream": stream, "cut": cut}))
            # A flood of lines is not searched one by one.
            for line in data.splitlines(keepends=True) if b'"progress"' in data else [data]:
                self.add(stream, line)

    def _collected(self, over: bool) -> list[LogPiece]:
        pieces = []
        for stream, buffer in self._streams.items():
            if text := buffer.take(over):
                pieces.append(LogPiece("log", {"stream": stream, "text": text}))
            if cut := buffer.cut_to_tell(over):
                pieces.append(LogPiece("log", {"stream": stream, "cut": cut}))
        if self._progress != self._progress_told and self._progress is not None:
            pieces.append(LogPiece("progress", self._progress))
            self._progress_told = self._progress
        pieces += [LogPiece("note", {"text": text}) for text in [*self._notes.values()][self._notes_told :]]
        self._notes_told = len(self._notes)
        if not pieces and self._first == 1:
            return [LogPiece("log", {"stream": "stdout", "text": ""})]
        return pieces


class _Buffer:
    """The part of a stream that was not collected yet."""

    def __init__(self) -> None:
        self.data = bytearray()
        #: Bytes left out after `data`, because there is no more room.
        self.cut = 0
        self._told = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, over: bool) -> str:
        """Whole lines as text without NULs. The last one may have no end if it is long, or if the call is `over`."""
        end = len(self.data)
        if not over:
            end = max(self.data.rfind(b"\n"), self.data.rfind(b"\r")) + 1
            if len(self.data) - end > MAX_LINE_BYTES:
                end = len(self.data)
        taken = bytes(self.data[:end])
        del self.data[:end]
        return self._decoder.decode(taken, final=over).replace("\0", "\ufffd")

    def cut_to_tell(self, over: bool) -> int:
        """The bytes left out at the end, when there are the first ones and when the call is `over`; else 0."""
        if self._told and not over:
            return 0
        self._told = self._told or self.cut > 0
        cut, self.cut = self.cut, 0
        return cut


Outcome = Success | Failure | NoReply


class CallResult(NamedTuple):
    """The result of a call.

    `container` is "" if nothing was sent. `exit_code` is the container's own (128 + n after signal n), None if it is
    alive or the runner killed it. `seconds` count from the send to the outcome, `stopping` from there to the end of a
    clean-up; 0 without one. The tails hold what the handler wrote during the call besides its reply, at most 64 KiB
    each. `image` is the id of the container's image, "" without one. `oom`: the engine reports that the container, or a
    process in it, was killed for memory. `live`: the call's output, if it was followed. `revision`: the id of
    what ran, see Revision; "" if nothing was sent.
    """

    call: Call
    outcome: Outcome
    container: str
    exit_code: int | None
    seconds: float
    slot: int
    stdout_tail: str = ""
    stderr_tail: str = ""
    image: str = ""
    oom: bool = False
    stopping: float = 0.0
    live: LiveOutput | None = None
    revision: str = ""
