from __future__ import annotations

from tasks_app.runner.errors import BadReply
from tasks_app.runner.wire import MAX_REPLY

SLACK = 64 * 1024


class Lines:
    """Cuts a byte stream into lines. Holds one unfinished line, of at most MAX_REPLY bytes and a little."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Lines that cannot be an object may come joined, as one.

        Raises BadReply when an unfinished line is too long; what was held is dropped then.
        """
        rest = self._rest
        # Looks for line ends in what is new only: a reply of 10 MB comes in 160 parts and more.
        end = data.rfind(b"\n") + 1
        if not rest:
            if end == len(data):
                return self._split(data)
            rest += data[end:]
            return self._split(data[:end]) if end else []
        if not end:
            rest += data
            if len(rest) > MAX_REPLY + SLACK:
                size = len(rest)
                rest.clear()
                raise BadReply(f"{size} bytes of stdout without a line end; a reply has at most {MAX_REPLY}")
            return []
        first = data.find(b"\n") + 1
        rest += data[:first]
        lines = [bytes(rest)]
        rest.clear()
        if first < end:
            lines += self._split(data[first:end])
        rest += data[end:]
        return lines

    def __bool__(self) -> bool:
        """Whether there is an unfinished line."""
        return bool(self._rest)

    def unfinished(self) -> bytes:
        """What came after the last line end (its last 64 KiB)."""
        return bytes(self._rest[-SLACK:])

    @staticmethod
    def _split(block: bytes) -> list[bytes]:
        # A flood of lines must not cost a turn of the interpreter for each of them.
        if block.find(b"\n") + 1 == len(block) or b"{" not in block:
            return [block]
        return block.splitlines(keepends=True)
