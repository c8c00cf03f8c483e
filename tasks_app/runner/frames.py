from __future__ import annotations

from tasks_app.runner.engine import STDERR, STDOUT, Piece

HEADER = 8


class Frames:
    """Takes apart the stream of an attached container: frames of a stream's number, three zeros, a size, a payload.

    Frames and even their headers may be torn anywhere.
    """

    __slots__ = ("_head", "_left", "_stream")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._stream = STDOUT

    def feed(self, data: bytes) -> list[Piece]:
        """What `data` has of each stream, in order. Raises ValueError if it is no stream of frames."""
        pieces: list[Piece] = []
        if self._head:
            data = self._head + data
            self._head = b""
        at, end = 0, len(data)
        while at < end:
            if not self._left:
                if end - at < HEADER:
                    self._head = data[at:]
                    break
                stream = data[at]
                if stream > 3 or data[at + 1 : at + 4] != b"\0\0\0":
                    raise ValueError(f"no header of a frame: {data[at : at + HEADER]!r}")
                # 3 is what the engine itself has to say.
                self._stream = STDOUT if stream == STDOUT else STDERR
                self._left = int.from_bytes(data[at + 4 : at + HEADER], "big")
                at += HEADER
                continue
            upto = min(end, at + self._left)
            pieces.append((self._stream, data[at:upto]))
            self._left -= upto - at
            at = upto
        return pieces

    def copy(self) -> Frames:
        """Another one in the same state, to look ahead with."""
        other = Frames()
        other._head, other._left, other._stream = self._head, self._left, self._stream
        return other
