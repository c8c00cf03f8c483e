from __future__ import annotations

from tasks_app.runner.engine import STDERR, STDOUT, Piece

HEADER = 8


class Frames:
    """Decodes the stream of an attached container: frames of stream number, three zeros, payload size, payload.

    The data may be split anywhere, headers included.
    """

    __slots__ = ("_head", "_remaining", "_stream")

    def __init__(self) -> None:
        self._head = b""
        self._remaining = 0
        self._stream = STDOUT

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces of each stream in `data`, in order. Raises ValueError for an invalid header."""
        pieces: list[Piece] = []
        if self._head:
            data = self._head + data
            self._head = b""
        at, end = 0, len(data)
        while at < end:
            if not self._remaining:
                if end - at < HEADER:
                    self._head = data[at:]
                    break
                stream = data[at]
                if stream > 3 or data[at + 1 : at + 4] != b"\0\0\0":
                    raise ValueError(f"not a frame header: {data[at : at + HEADER]!r}")
                # Stream 3 carries messages of the engine itself.
                self._stream = STDOUT if stream == STDOUT else STDERR
                self._remaining = int.from_bytes(data[at + 4 : at + HEADER], "big")
                at += HEADER
                continue
            upto = min(end, at + self._remaining)
            pieces.append((self._stream, data[at:upto]))
            self._remaining -= upto - at
            at = upto
        return pieces

    def copy(self) -> Frames:
        """A decoder in the same state, to look ahead."""
        other = Frames()
        other._head, other._remaining, other._stream = self._head, self._remaining, self._stream
        return other
